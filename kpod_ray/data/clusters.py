"""Question clusters for the diversity term of Eq. 12."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans


def mean_embeddings(
    tokenizer: Any, table: npt.NDArray[np.float32], texts: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Return the mean input embedding of each text's tokens, scaled to unit length.

    The paper averages GloVe vectors; the student's own table is always at hand.

    Args:
        tokenizer: of the model that the table belongs to.
        table: [V, d], input embeddings.
        texts: Q texts.

    Returns:
        [Q, d].
    """
    result = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, ids in enumerate(tokenizer(list(texts), add_special_tokens=False).input_ids):
        if ids:
            result[row] = table[ids].mean(0)
    norms = np.linalg.norm(result, axis=1, keepdims=True)
    return result / np.maximum(norms, np.finfo(np.float32).tiny)


def cluster_questions(
    embeddings: npt.NDArray[np.float32], num_clusters: int, seed: int
) -> npt.NDArray[np.int64]:
    """Return the K-means cluster of each question, [Q]; fewer clusters if questions are fewer."""
    num_clusters = min(num_clusters, len(np.unique(embeddings, axis=0)))
    kmeans = KMeans(num_clusters, init="k-means++", n_init=4, random_state=seed % 2**32)
    return kmeans.fit_predict(embeddings).astype(np.int64)
