"""Question clusters for the diversity term of Eq. 12, and question vectors from tables of vectors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering, KMeans

from kpod_ray.errors import KpodError
from kpod_ray.storage.user_files import checked_file, place

FloatArray = npt.NDArray[np.float32]
MAX_AGGLOMERATIVE = 30_000
"""Questions whose pairwise distances, 3.6 GB, are still held in memory."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]")


def mean_embeddings(tokenizer: Any, table: FloatArray, texts: Sequence[str]) -> FloatArray:
    """Return the mean input embedding of each text's tokens, scaled to unit length.

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
    return unit_length(result)


def word_vector_means(path: str, texts: Sequence[str]) -> FloatArray:
    """Return the mean vector of each text's words, scaled to unit length; the paper's way.

    Words are runs of letters, numbers, and single marks, in lower case. Those without a vector are
    left out; a text without any is the zero vector.

    Args:
        path: text file of word vectors, a line ``word v1 v2 ...`` each, such as GloVe's.
        texts: Q texts.

    Returns:
        [Q, d].

    Raises:
        KpodError: The file is missing, a line can't be read, or no word of the texts has a vector.
    """
    words = [_WORD.findall(text.lower()) for text in texts]
    wanted = {word for of_text in words for word in of_text}
    vectors = dict(_read_vectors(checked_file(path), wanted))
    if not vectors:
        raise KpodError(f"{path} has no vector for any word of the questions")
    width = len(next(iter(vectors.values())))
    result = np.zeros((len(texts), width), dtype=np.float32)
    for row, of_text in enumerate(words):
        known = [vectors[word] for word in of_text if word in vectors]
        if known:
            result[row] = np.mean(known, axis=0)
    return unit_length(result)


def _read_vectors(file: Path, wanted: set[str]) -> Iterator[tuple[str, FloatArray]]:
    """Yield the vectors of the wanted words alone: a whole GloVe file is a gigabyte."""
    width = None
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            word, _, rest = line.rstrip().partition(" ")
            if word not in wanted:
                continue
            try:
                vector = np.array(rest.split(" "), dtype=np.float32)
            except ValueError:
                vector = np.empty(0, dtype=np.float32)
            width = width or vector.size
            if not vector.size or vector.size != width or not np.isfinite(vector).all():
                where = place(str(file), number)
                raise KpodError(f"{where}: expected a word and {width or 'its'} numbers")
            yield word, vector


def unit_length(vectors: FloatArray) -> FloatArray:
    """Return the vectors scaled to length 1, [Q, d]; a zero vector stays one."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def cluster_questions(
    vectors: FloatArray,
    num_clusters: int,
    clustering: Literal["kmeans", "agglomerative"],
    seed: int,
) -> npt.NDArray[np.int64]:
    """Return the cluster of each question, [Q]; fewer clusters if different questions are fewer.

    Args:
        vectors: [Q, d].
        num_clusters: K.
        clustering: K-means, or agglomerative with Ward's criterion.
        seed: of K-means.

    Raises:
        KpodError: There are too many questions for agglomerative clustering.
    """
    num_clusters = min(num_clusters, len(np.unique(vectors, axis=0)))
    if clustering == "kmeans":
        kmeans = KMeans(num_clusters, init="k-means++", n_init=4, random_state=seed % 2**32)
        return kmeans.fit_predict(vectors).astype(np.int64)
    if len(vectors) > MAX_AGGLOMERATIVE:
        raise KpodError(
            f"schedule.clustering=agglomerative is for up to {MAX_AGGLOMERATIVE} questions, "
            f"there are {len(vectors)}; take kmeans"
        )
    if len(vectors) == 1:
        return np.zeros(1, dtype=np.int64)
    return AgglomerativeClustering(num_clusters).fit_predict(vectors).astype(np.int64)
