"""Question embeddings by hand, and clusters that were planted."""

import math

import numpy as np
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.schedule.clustering import MAX_AGGLOMERATIVE, cluster_questions
from kpod_ray.schedule.embeddings import mean_embeddings, unit_length, word_vector_means

CLUSTERINGS = ["kmeans", "agglomerative"]


def planted(num_clusters, size, seed=0):
    """Return points around far-apart centres in a shuffled order, and the centre of each."""
    generator = np.random.default_rng(seed)
    centres = 10 * np.eye(num_clusters, dtype=np.float32)
    of_point = generator.permutation(np.repeat(np.arange(num_clusters), size))
    noise = generator.normal(scale=0.3, size=(len(of_point), num_clusters))
    return (centres[of_point] + noise).astype(np.float32), of_point


@pytest.mark.parametrize("clustering", CLUSTERINGS)
@pytest.mark.parametrize("num_clusters", [1, 2, 5])
def test_planted_clusters_are_found(num_clusters, clustering):
    points, of_point = planted(num_clusters, 20)
    cluster_ids = cluster_questions(points, num_clusters, clustering, seed=0)
    pairs = set(zip(of_point.tolist(), cluster_ids.tolist(), strict=True))
    assert len(pairs) == num_clusters
    assert {found for _, found in pairs} == set(range(num_clusters))


def test_clusters_depend_on_nothing_but_their_arguments():
    points = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    first = cluster_questions(points, 5, "kmeans", seed=3)
    np.random.seed(1)
    assert first.tolist() == cluster_questions(points, 5, "kmeans", seed=3).tolist()
    assert first.tolist() != cluster_questions(points, 5, "kmeans", seed=4).tolist()


@pytest.mark.parametrize("clustering", CLUSTERINGS)
@pytest.mark.parametrize("num_different", [1, 3])
def test_there_are_no_more_clusters_than_different_questions(num_different, clustering):
    points = np.repeat(np.eye(4, dtype=np.float32)[:num_different], 2, axis=0)
    cluster_ids = cluster_questions(points, 5, clustering, seed=0)
    assert len(set(cluster_ids.tolist())) == num_different
    assert cluster_ids[0::2].tolist() == cluster_ids[1::2].tolist()
    assert cluster_ids.dtype == np.int64


def test_a_seed_may_be_larger_than_32_bits():
    points, _ = planted(2, 5)
    assert len(cluster_questions(points, 2, "kmeans", seed=2**40)) == 10


def test_mean_embeddings_by_hand(tiny_tokenizer):
    # "a" is (1, 0) and "b" is (0, 1): "aab" has the mean (2/3, 1/3), of unit length (2, 1) / sqrt 5.
    table = np.zeros((len(tiny_tokenizer), 2), dtype=np.float32)
    table[tiny_tokenizer.convert_tokens_to_ids("a")] = [1, 0]
    table[tiny_tokenizer.convert_tokens_to_ids("b")] = [0, 1]
    embeddings = mean_embeddings(tiny_tokenizer, table, ["aab", "b", "", "bbaaaa"])
    expected = np.array([[2, 1], [0, math.sqrt(5)], [0, 0], [2, 1]]) / math.sqrt(5)
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    assert embeddings.dtype == np.float32


@pytest.mark.parametrize("clustering", CLUSTERINGS)
def test_one_question_is_one_cluster(clustering):
    assert cluster_questions(np.ones((1, 3), np.float32), 5, clustering, seed=0).tolist() == [0]


def test_the_two_ways_to_cluster_cut_an_uneven_line_differently():
    # K-means weighs sizes: it cuts the crowd of 60 rather than leave one far point alone.
    points = np.concatenate([np.linspace(0, 4, 60), [9.0]])[:, None].astype(np.float32)
    kmeans, ward = (cluster_questions(points, 2, way, seed=0) for way in CLUSTERINGS)
    assert (np.bincount(kmeans).min(), np.bincount(ward).min()) != (1, 1)
    assert sorted(np.bincount(kmeans)) != sorted(np.bincount(ward))


def test_too_many_questions_for_all_pairs_are_an_error_with_the_mend():
    points = np.arange(MAX_AGGLOMERATIVE + 1, dtype=np.float32)[:, None]
    with pytest.raises(KpodError, match="30000 questions, there are 30001; take kmeans"):
        cluster_questions(points, 2, "agglomerative", seed=0)


def test_unit_length_leaves_zero_alone():
    vectors = unit_length(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_word_vectors_by_hand(tmp_path):
    # "Anna has 3.5 eggs." has words anna, has, 3.5, eggs and the full stop; "has" has no vector.
    # Mean of (3, 0), (0, 3), (3, 3), (0, 0) is (1.5, 1.5).
    file = tmp_path / "glove.txt"
    file.write_text("anna 3 0\neggs 0 3\n3.5 3 3\n. 0 0\nunread x y\nb 0 2\n")
    means = word_vector_means(str(file), ["Anna has 3.5 eggs.", "B B", "what", ""])
    root = math.sqrt(0.5)
    np.testing.assert_allclose(means, [[root, root], [0, 1], [0, 0], [0, 0]], atol=1e-6)
    assert means.dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("other 1 2\n", "has no vector for any word"),
        ("", "has no vector for any word"),
        ("b 1 2\na 1 2 3\n", "row 2: expected a word and 2 numbers"),
        ("a 1 x\n", "row 1: expected a word and its numbers"),
        ("a 1 nan\n", "row 1: expected a word and 2 numbers"),
        ("a\n", "row 1: expected a word"),
    ],
)
def test_a_bad_file_of_word_vectors_is_an_error(tmp_path, content, message):
    file = tmp_path / "glove.txt"
    file.write_text(content)
    with pytest.raises(KpodError, match=message):
        word_vector_means(str(file), ["a b"])


def test_a_missing_file_of_word_vectors_is_an_error(tmp_path):
    with pytest.raises(KpodError, match="doesn't exist"):
        word_vector_means(str(tmp_path / "glove.txt"), ["a"])
