"""Question embeddings by hand, and clusters that were planted."""

import math

import numpy as np
import pytest

from kpod_ray.data.clusters import cluster_questions, mean_embeddings


def planted(num_clusters, size, seed=0):
    """Return points around far-apart centres in a shuffled order, and the centre of each."""
    generator = np.random.default_rng(seed)
    centres = 10 * np.eye(num_clusters, dtype=np.float32)
    of_point = generator.permutation(np.repeat(np.arange(num_clusters), size))
    noise = generator.normal(scale=0.3, size=(len(of_point), num_clusters))
    return (centres[of_point] + noise).astype(np.float32), of_point


@pytest.mark.parametrize("num_clusters", [1, 2, 5])
def test_planted_clusters_are_found(num_clusters):
    points, of_point = planted(num_clusters, 20)
    cluster_ids = cluster_questions(points, num_clusters, seed=0)
    pairs = set(zip(of_point.tolist(), cluster_ids.tolist(), strict=True))
    assert len(pairs) == num_clusters
    assert {found for _, found in pairs} == set(range(num_clusters))


def test_clusters_depend_on_nothing_but_their_arguments():
    points = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    first = cluster_questions(points, 5, seed=3)
    np.random.seed(1)
    assert first.tolist() == cluster_questions(points, 5, seed=3).tolist()
    assert first.tolist() != cluster_questions(points, 5, seed=4).tolist()


@pytest.mark.parametrize("num_different", [1, 3])
def test_there_are_no_more_clusters_than_different_questions(num_different):
    points = np.repeat(np.eye(4, dtype=np.float32)[:num_different], 2, axis=0)
    cluster_ids = cluster_questions(points, 5, seed=0)
    assert len(set(cluster_ids.tolist())) == num_different
    assert cluster_ids[0::2].tolist() == cluster_ids[1::2].tolist()
    assert cluster_ids.dtype == np.int64


def test_a_seed_may_be_larger_than_32_bits():
    points, _ = planted(2, 5)
    assert len(cluster_questions(points, 2, seed=2**40)) == 10


def test_mean_embeddings_by_hand(tiny_tokenizer):
    # "a" is (1, 0) and "b" is (0, 1): "aab" has the mean (2/3, 1/3), of unit length (2, 1) / sqrt 5.
    table = np.zeros((len(tiny_tokenizer), 2), dtype=np.float32)
    table[tiny_tokenizer.convert_tokens_to_ids("a")] = [1, 0]
    table[tiny_tokenizer.convert_tokens_to_ids("b")] = [0, 1]
    embeddings = mean_embeddings(tiny_tokenizer, table, ["aab", "b", "", "bbaaaa"])
    expected = np.array([[2, 1], [0, math.sqrt(5)], [0, 0], [2, 1]]) / math.sqrt(5)
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    assert embeddings.dtype == np.float32
