"""Sequences of the answer predictor: what stands where."""

import dataclasses
import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.data.token_kinds import KEYPOINT, OTHER
from kpod_ray.models.student import load_tokenizer
from kpod_ray.records import Question
from kpod_ray.weighting.batches import (
    MaskedExample,
    Prefix,
    build_masked_example,
    collate_masked,
    continued_answer,
    decoded_answer,
)
from tests.conftest import SHARED_DATA

SPIECE = SHARED_DATA / "tokenizers" / "flan_t5" / "spiece.model"

PAD = 0
QUESTION = Question("q", "How many?", "12", "number", (), "train", "")
SHORT = MaskedExample("s", [1, 2], [10, 11], [KEYPOINT, OTHER], [5, 6], [7], [2])
LONG = MaskedExample("l", [3], [20, 21, 22, 23], [OTHER] * 4, [5, 6], [8, 9], [2, 4])


def collated(first, second):
    return collate_masked([SHORT, LONG], [Prefix(0, first, 1.0), Prefix(1, second, 1.0)], PAD)


def test_an_example_is_prompt_rationale_closing_and_answer(tokenizer):
    answer = continued_answer(tokenizer, QUESTION.answer)
    example = build_masked_example(
        tokenizer, QUESTION, "4 * 3 = 12.", "plain", answer, split_newlines=True
    )
    assert example.prompt_ids == encode_prompt(tokenizer, "How many?", "plain")
    assert example.rationale_ids == encode_with_spans(tokenizer, "4 * 3 = 12.")[0]
    written = example.rationale_ids + example.closing_ids + example.answer_ids
    end = tokenizer.eos_token
    assert tokenizer.decode(written) == f"4 * 3 = 12. Therefore, the answer is 12.{end}"
    assert tokenizer.decode(example.answer_ids) == f" 12.{end}"


def test_a_step_ends_where_the_next_begins(tiny_tokenizer):
    text = "One egg.  Two eggs more.\n3 in all"  # a byte a token
    ends = [text.index("  Two"), text.index("3"), len(text)]
    example = build_masked_example(
        tiny_tokenizer, QUESTION, text, "plain", [1], split_newlines=True
    )
    assert example.step_ends == ends
    whole = build_masked_example(
        tiny_tokenizer, QUESTION, "One egg\nTwo eggs", "plain", [1], split_newlines=False
    )
    assert whole.step_ends == [16]


def test_the_choices_are_hidden_and_the_answer_is_the_text_of_the_option(tiny_tokenizer):
    question = Question("q", "Where?", "B", "choice", ("sea", "bank"), "train", "")
    example = build_masked_example(
        tiny_tokenizer, question, "Money.", "plain", [1], split_newlines=True
    )
    assert example.prompt_ids == encode_prompt(tiny_tokenizer, "Where?", "plain")
    assert question.answer_text() == "bank"
    assert QUESTION.answer_text() == "12"


def test_every_rationale_token_has_its_kind(tiny_tokenizer):
    example = build_masked_example(
        tiny_tokenizer, QUESTION, "4 x", "plain", [1], split_newlines=True
    )
    assert example.rationale_kinds == [KEYPOINT, OTHER, OTHER]  # a byte a token: "4", " ", "x"


def test_a_decoder_writes_the_answer_alone(tiny_tokenizer):
    assert tiny_tokenizer.decode(decoded_answer(tiny_tokenizer, "12")) == "12"
    ends = continued_answer(tiny_tokenizer, "12")
    assert tiny_tokenizer.decode(ends) == f" 12.{tiny_tokenizer.eos_token}"


@pytest.mark.skipif(not SPIECE.is_file(), reason="../shared has no Flan-T5 tokenizer")
@pytest.mark.parametrize("answer", ["12", "1234.5", "C", "yes"])
def test_flan_t5_writes_the_answer_with_its_end(tmp_path, answer):
    shutil.copy(SPIECE, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    tokenizer = load_tokenizer(str(tmp_path))
    ids = decoded_answer(tokenizer, answer)
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == answer


def test_a_batch_by_hand():
    batch = collated(1, 3)
    # Row 0: prompt 1 2, prefix 10, closing 5 6, answer 7.
    sequences = batch.sequences
    assert sequences.input_ids.tolist() == [[1, 2, 10, 5, 6, 7, 0, 0], [3, 20, 21, 22, 5, 6, 8, 9]]
    assert sequences.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [1] * 8]
    assert sequences.is_answer.int().tolist() == [[0, 0, 0, 0, 0, 1, 0, 0], [0] * 6 + [1, 1]]
    assert batch.rationale_ids.tolist() == [[10, 11, 0, 0], [20, 21, 22, 23]]
    assert batch.rationale_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert sequences.prefix_starts.tolist() == [2, 1]
    assert sequences.prefix_lengths.tolist() == [1, 3]
    assert sequences.rationale_rows.tolist() == [0, 1]
    assert sequences.shares.tolist() == [1, 1]


def test_a_rationale_may_stand_in_several_sequences():
    prefixes = [Prefix(1, 4, 0.75), Prefix(0, 2, 1.0), Prefix(1, 1, 0.25)]
    batch = collate_masked([SHORT, LONG], prefixes, PAD)
    assert batch.rationale_ids.shape == (2, 4)
    assert batch.sequences.rationale_rows.tolist() == [1, 0, 1]
    assert batch.sequences.prefix_lengths.tolist() == [4, 2, 1]
    assert batch.sequences.shares.tolist() == [0.75, 1, 0.25]
    assert batch.sequences.input_ids[2].tolist() == [3, 20, 5, 6, 8, 9, 0, 0, 0]
    last = batch.sequences.part(1, 3)
    assert last.input_ids.tolist() == batch.sequences.input_ids[1:].tolist()
    assert last.rationale_rows.tolist() == [0, 1]


@given(lengths=st.tuples(st.integers(1, 2), st.integers(1, 4)))
@settings(max_examples=20, deadline=None)
def test_the_answer_is_the_end_of_every_sequence(lengths):
    sequences = collated(*lengths).sequences
    for ids, mask, is_answer, example in zip(
        sequences.input_ids,
        sequences.attention_mask,
        sequences.is_answer,
        [SHORT, LONG],
        strict=True,
    ):
        assert ids[is_answer].tolist() == example.answer_ids
        assert ids[: mask.sum()][-len(example.answer_ids) :].tolist() == example.answer_ids


def test_a_batch_moves_whole():
    moved = collated(1, 3).to(torch.device("meta"))
    tensors = [moved.rationale_ids, moved.rationale_mask]
    fields = dataclasses.fields(moved.sequences)
    tensors += [getattr(moved.sequences, field.name) for field in fields]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
