"""Flan-T5's own tokenizer with a random T5: what is trained on, and what comes out."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import build_example, encode_with_spans
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.inference.transformers_generator import TextGenerator
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.weighting.hand_weights import hand_weighted
from tests.conftest import SHARED_DATA

SPIECE = SHARED_DATA / "tokenizers" / "flan_t5" / "spiece.model"
pytestmark = pytest.mark.skipif(not SPIECE.is_file(), reason="../shared has no Flan-T5 tokenizer")

TEXT = "There are 3 apples in each of 4 boxes. She eats 1.5 of them.\nSo 12 - 1.5 = 10.5 are left."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random small T5 of Flan-T5's kind with the real tokenizer of 32,100 ids."""
    folder = tmp_path_factory.mktemp("flan")
    shutil.copy(SPIECE, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))
    tokenizer = load_tokenizer(str(folder))
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) / 6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def example(tokenizer):
    _, starts, ends = encode_with_spans(tokenizer, TEXT)
    weights = [(i + 1) / (len(starts) + 1) for i in range(len(starts))]
    steps = zip(*split_steps(TEXT, split_newlines=True), strict=True)
    rationale = WeightedRationale("q", TEXT, starts.tolist(), ends.tolist(), weights, *steps)
    question = Question("q", "How many?", "10.5", "number", (), "train", "")
    return build_example(tokenizer, question, rationale, "plain")


def test_the_prompt_is_plain_text_without_special_tokens(tokenizer):
    ids = encode_prompt(tokenizer, "How many?", "plain")
    assert tokenizer.decode(ids) == "Q: How many? A:"  # it has no newline, only blanks
    assert not set(ids) & {tokenizer.eos_token_id, tokenizer.pad_token_id}


def test_steps_follow_their_characters(tokenizer, example):
    assert example.num_steps == 3
    pieces = [
        tokenizer.decode(
            [t for t, s in zip(example.target_ids, example.token_steps, strict=True) if s == k]
        )
        for k in range(4)
    ]
    assert pieces == [
        "There are 3 apples in each of 4 boxes.",
        "She eats 1.5 of them.",
        "So 12 - 1.5 = 10.5 are left.",
        "Therefore, the answer is 10.5.</s>",
    ]


def test_hand_weights_follow_their_characters(tokenizer):
    rationale = Rationale("q/0", "q", 0, TEXT, "t", "stop", 0, "10.5", "kept")
    row = hand_weighted(rationale, tokenizer, 0.25, split_newlines=True)
    question = Question("q", "How many?", "10.5", "number", (), "train", "")
    example = build_example(tokenizer, question, row, "plain")
    tokens = zip(example.target_ids, example.token_steps, example.token_weights, strict=True)
    in_rationale = [(token, weight) for token, step, weight in tokens if step < 3]
    flagged = [tokenizer.decode([token]) for token, weight in in_rationale if weight == 1]
    assert "".join(flagged) == "341.512-1.5=10.5"
    assert {weight for _, weight in in_rationale} == {0.25, 1.0}


def test_a_batch_reads_the_given_steps_and_writes_the_rest(folder, tokenizer, example):
    student = load_student(folder, torch.float32)
    batch = student.collate([example], [2], tokenizer.pad_token_id)
    read, written = tokenizer.decode(batch.input_ids[0]), tokenizer.decode(batch.labels)
    assert read == f"Q: How many? A: {TEXT.partition(chr(10))[0]}</s>"
    assert written == "So 12 - 1.5 = 10.5 are left. Therefore, the answer is 10.5.</s>"
    assert batch.decoder_input_ids[0, 0] == tokenizer.pad_token_id
    assert batch.decoder_input_ids[0, 1:].tolist() == batch.labels[:-1].tolist()


def test_a_student_that_learnt_one_rationale_writes_it_and_ends(
    folder, tokenizer, example, tmp_path
):
    student = load_student(folder, torch.float32)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    batch = student.collate([example], [0], tokenizer.pad_token_id)
    for _ in range(60):
        (student(batch).total / len(batch.labels)).backward()
        optimizer.step()
        optimizer.zero_grad()
    student.language_model.save_pretrained(tmp_path)
    saved = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    generator = TextGenerator(saved, tokenizer, 80, None, 0)
    (row,) = generator.generate([encode_prompt(tokenizer, "How many?", "plain")], 4)
    assert row.text == f"{TEXT.replace(chr(10), ' ')} Therefore, the answer is 10.5."
    assert (row.finish_reason, row.num_tokens) == ("stop", len(example.target_ids))
