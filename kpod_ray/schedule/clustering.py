"""Clusters of questions for the diversity term of Eq. 12, and question vectors from vector tables.

The vector of a question is a mean of token embeddings (`mean_embeddings`) or of word vectors
(`word_vector_means`). `cluster_questions` clusters the vectors.
"""

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
"""Most questions of agglomerative clustering, which holds all pairwise distances (3.6 GB here)."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]")


def mean_embeddings(tokenizer: Any, table: FloatArray, texts: Sequence[str]) -> FloatArray:
    """Return the mean input embedding of each text's tokens, scaled to unit length.

    Args:
        tokenizer: Tokenizer of the model that the table belongs to.
        table: [V, d], input embeddings of the model.
        texts: Q texts.

    Returns:
        [Q, d]; the zero vector for a text without tokens.
    """
    result = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, ids in enumerate(tokenizer(list(texts), add_special_tokens=False).input_ids):
        if ids:
            result[row] = table[ids].mean(0)
    return unit_length(result)


def word_vector_means(path: str, texts: Sequence[str]) -> FloatArray:
    """Return the mean vector of each text's words, scaled to unit length, as in the paper.

    A word is a run of letters, a number or a single punctuation mark, in lower case. Words without a
    vector are ignored.

    Args:
        path: Text file of word vectors with one line ``word v1 v2 ...`` for each word (GloVe's format).
        texts: Q texts.

    Returns:
        [Q, d]; the zero vector for a text in which no word has a vector.

    Raises:
        KpodError: The file is missing, the line of a needed word can't be read, or no word of the
            texts has a vector.
    """
    words_of_texts = [_WORD.findall(text.lower()) for text in texts]
    vocabulary = {word for words in words_of_texts for word in words}
    vectors = dict(_read_vectors(checked_file(path), vocabulary))
    if not vectors:
        raise KpodError(f"{path} has no vector for any word of the questions")
    width = len(next(iter(vectors.values())))
    result = np.zeros((len(texts), width), dtype=np.float32)
    for row, words in enumerate(words_of_texts):
        found = [vectors[word] for word in words if word in vectors]
        if found:
            result[row] = np.mean(found, axis=0)
    return unit_length(result)


def unit_length(vectors: FloatArray) -> FloatArray:
    """Return vectors scaled to Euclidean length 1.

    Args:
        vectors: [Q, d].

    Returns:
        [Q, d]; a zero vector stays a zero vector.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


def cluster_questions(
    vectors: FloatArray,
    num_clusters: int,
    clustering: Literal["kmeans", "agglomerative"],
    seed: int,
) -> npt.NDArray[np.int64]:
    """Return the cluster of each question.

    Args:
        vectors: [Q, d], one vector for each question.
        num_clusters: K, number of clusters; lowered to the number of distinct vectors.
        clustering: K-means, or agglomerative clustering with Ward's criterion.
        seed: Seed of K-means.

    Returns:
        int64 [Q], 0-based cluster ids.

    Raises:
        KpodError: There are too many questions for agglomerative clustering.
    """
    num_clusters = min(num_clusters, len(np.unique(vectors, axis=0)))
    if clustering == "kmeans":
        # scikit-learn takes seeds of 32 bits.
        kmeans = KMeans(num_clusters, init="k-means++", n_init=4, random_state=seed % 2**32)
        return kmeans.fit_predict(vectors).astype(np.int64)
    if len(vectors) > MAX_AGGLOMERATIVE:
        raise KpodError(
            f"schedule.clustering=agglomerative is for up to {MAX_AGGLOMERATIVE} questions, "
            f"there are {len(vectors)}; take kmeans"
        )
    if len(vectors) == 1:  # AgglomerativeClustering refuses a single sample
        return np.zeros(1, dtype=np.int64)
    return AgglomerativeClustering(num_clusters).fit_predict(vectors).astype(np.int64)


def _read_vectors(file: Path, vocabulary: set[str]) -> Iterator[tuple[str, FloatArray]]:
    """Yield the vector of every word of the vocabulary; a whole GloVe file would take a gigabyte."""
    width = None
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            word, _, rest = line.rstrip().partition(" ")
            if word not in vocabulary:
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
