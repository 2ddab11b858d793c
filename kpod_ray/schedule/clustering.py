"""Clusters of questions, from their vectors, for the diversity term of Eq. 12."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering, KMeans

from kpod_ray.errors import KpodError

FloatArray = npt.NDArray[np.float32]
MAX_AGGLOMERATIVE = 30_000
"""Most questions of agglomerative clustering, which holds all pairwise distances (3.6 GB here)."""


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
        seed: Seed of K-means, not used by agglomerative clustering.

    Returns:
        int64 [Q], cluster ids from 0 to the lowered K - 1. Equal arguments give equal clusters with the
        same version of scikit-learn.

    Raises:
        KpodError: Agglomerative clustering gets more than `MAX_AGGLOMERATIVE` questions.
        ValueError: There is no vector, K is below 1, or a number isn't finite.
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
