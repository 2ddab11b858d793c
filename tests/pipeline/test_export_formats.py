"""The corpus as other programs read it: what is written is what our students are trained on."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.corpus import CorpusRow
from kpod_ray.data.examples import build_example, encode_with_spans, spread_weights
from kpod_ray.data.prompts import question_text
from kpod_ray.pipeline.export import (
    kpod_row,
    messages_row,
    prime_rl_row,
    short_floats,
    swift_row,
    trl_row,
)
from kpod_ray.records import Question, Rationale, WeightedRationale

TEXT = "He has 3 eggs. 3 + 4 = 7."
TARGET = "He has 3 eggs. 3 + 4 = 7. Therefore, the answer is 7."
TEXTS = [TEXT, "Un café coûte 2.50 €.\nDeux coûtent 5 €.", "\U0001f600 7 \U0001f600 is  7.\n\n- 7"]


def row_of(text=TEXT, spans=((3, 6, 0.25), (7, 8, 0.5), (15, 24, 1.0)), choices=(), answer="7"):
    kind = "choice" if choices else "number"
    question = Question("q", "How many?", answer, kind, choices, "train", "")
    rationale = Rationale("q/1", "q", 1, text, "t-7b", "stop", 9, "7", "kept", -3.5)
    steps = split_steps(text, split_newlines=True)
    weighted = WeightedRationale("q", text, *zip(*spans, strict=True), *zip(*steps, strict=True))
    return CorpusRow(question, rationale, weighted)


def tokenized_row(tokenizer, text, seed=0):
    """A row whose spans are the tokenizer's tokens, as the weighter makes them."""
    ids, starts, ends = encode_with_spans(tokenizer, text)
    weights = np.random.default_rng(seed).uniform(0.01, 0.99, len(ids)).astype(np.float32)
    return row_of(text, list(zip(starts.tolist(), ends.tolist(), weights.tolist(), strict=True)))


def test_our_own_format_holds_everything():
    assert json.loads(json.dumps(kpod_row(row_of()))) == {
        "id": "q",
        "question": "How many?",
        "answer": "7",
        "kind": "number",
        "choices": [],
        "split": "train",
        "rationale": TEXT,
        "weights": [[3, 6, 0.25], [7, 8, 0.5], [15, 24, 1.0]],
        "steps": [[0, 14], [14, 25]],
        "teacher": "t-7b",
        "sample_index": 1,
        "teacher_answer": "7",
        "finish_reason": "stop",
        "num_tokens": 9,
        "logprob": -3.5,
    }


def test_messages_are_what_a_student_reads_and_writes():
    row = messages_row(row_of(choices=("six", "seven"), answer="B"))
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
    assert row["messages"][0]["content"] == "How many?\nAnswer choices:\nA. six\nB. seven"
    assert row["messages"][1]["content"] == TEXT + " Therefore, the answer is B."


def test_spans_of_messages_are_of_the_assistants_text_and_the_answer_segment_weighs_1():
    row = messages_row(row_of())
    text = row["messages"][1]["content"]
    assert text == TARGET
    assert [(text[start:end], weight) for start, end, weight in row["weights"]] == [
        ("has", 0.25),
        ("3", 0.5),
        ("3 + 4 = 7", 1.0),
        (" Therefore, the answer is 7.", 1.0),
    ]


def test_no_span_reaches_beyond_the_rationale_into_the_answer():
    text = "He has 7.  "  # the student's target doesn't hold the blanks at the end
    row = messages_row(row_of(text, [(0, 2, 0.1), (7, 11, 0.3), (10, 11, 0.9)]))
    assert row["weights"] == [(0, 2, 0.1), (7, 9, 0.3), (9, 37, 1.0)]


def test_trl_gets_turns_for_a_chat_template_and_texts_for_a_plain_one():
    chat, plain = trl_row("chat", row_of()), trl_row("plain", row_of())
    assert chat["prompt"] == [{"role": "user", "content": "How many?"}]
    assert chat["completion"] == [{"role": "assistant", "content": TARGET}]
    assert plain["prompt"] + plain["completion"] == f"Q: How many?\nA:\n{TARGET}"
    assert chat["weights"] == plain["weights"] == messages_row(row_of())["weights"]


@pytest.mark.parametrize("text", TEXTS)
def test_turns_of_ms_swift_joined_are_the_target(tokenizer, text):
    row = tokenized_row(tokenizer, text)
    user, *turns = swift_row(row)["messages"]
    assert user == {"role": "user", "content": "How many?"}
    assert {turn["role"] for turn in turns} == {"assistant"}
    target = messages_row(row)["messages"][1]["content"]
    assert "".join(turn["content"] for turn in turns) == target
    assert all(turn["content"] for turn in turns)
    assert turns[-1] == {
        "role": "assistant",
        "content": " Therefore, the answer is 7.",
        "loss_scale": 1.0,
    }


@pytest.mark.parametrize("text", TEXTS)
def test_turns_of_ms_swift_have_the_weights_and_the_tokens_of_a_trained_student(tokenizer, text):
    """Token by token what `build_example` gives, where the tokenizer leaves blanks as they are."""
    row = tokenized_row(tokenizer, text)
    example = build_example(tokenizer, row.question, row.weighted, "plain")
    ids, weights = [], []
    for turn in swift_row(row)["messages"][1:]:
        piece = tokenizer(turn["content"], add_special_tokens=False).input_ids
        ids += piece
        weights += [turn["loss_scale"]] * len(piece)
    assert ids == example.target_ids[:-1]
    shared = _shares_characters(tokenizer, text)
    expected = np.array(example.token_weights[:-1])
    found = np.array(weights)
    of_own = [i for i in range(len(ids)) if i not in shared]
    assert found[of_own] == pytest.approx(expected[of_own], abs=1e-6)


def _shares_characters(tokenizer, text):
    """Tokens that are bytes of one sign, or blanks whose trimmed span is empty."""
    _, starts, ends = encode_with_spans(tokenizer, text)
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    return {
        i
        for i, (start, end) in enumerate(spans)
        if start == end
        or any(start < e and s < end for j, (s, e) in enumerate(spans) if j != i)
        or any(s == e == start for s, e in spans)
    }


def test_neighbours_of_equal_weight_are_one_turn():
    row = row_of(spans=[(0, 2, 0.3), (3, 6, 0.3), (7, 8, 0.9), (9, 25, 0.3)])
    turns = swift_row(row)["messages"][1:]
    assert [(turn["content"], turn["loss_scale"]) for turn in turns] == [
        ("He has", 0.3),
        (" 3", 0.9),
        (" eggs. 3 + 4 = 7.", 0.3),
        (" Therefore, the answer is 7.", 1.0),
    ]


def test_text_outside_all_spans_has_the_mean_weight_in_ms_swift():
    turns = swift_row(row_of("One is seven.", [(0, 3, 0.2), (4, 6, 0.4)]))["messages"][1:]
    assert turns[2] == {"role": "assistant", "content": " seven.", "loss_scale": 0.3}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("template", ["plain", "chat"])
def test_prime_rl_gets_the_tokens_and_weights_of_a_trained_student(tiny_tokenizer, text, template):
    row = tokenized_row(tiny_tokenizer, text)
    example = build_example(tiny_tokenizer, row.question, row.weighted, template)
    found = prime_rl_row(tiny_tokenizer, template, row)
    length, num_prompt = example.num_tokens(), len(example.prompt_ids)
    assert found["token_ids"] == [*example.prompt_ids, *example.target_ids]
    assert found["mask"] == [False] * num_prompt + [True] * (length - num_prompt)
    assert found["ce_weights"][:num_prompt] == [0.0] * num_prompt
    assert found["ce_weights"][num_prompt:] == pytest.approx(example.token_weights, abs=1e-7)
    assert found["rl_weights"] == found["logprobs"] == [0.0] * length
    assert found["temperatures"] == [1.0] * length
    assert question_text(row.question) in tiny_tokenizer.decode(found["token_ids"][:num_prompt])
    json.dumps(found, allow_nan=False)


@given(st.lists(st.floats(0, 1, width=32)))
def test_short_numbers_are_the_same_32_bit_numbers(values):
    assert np.array_equal(np.float32(short_floats(values)), np.float32(values))


def test_short_numbers_are_short():
    assert json.dumps(short_floats([float(np.float32(0.44)), 1, 0])) == "[0.44, 1.0, 0.0]"


def test_spans_of_words_keep_their_weights():
    """By hand: each word's characters weigh what its span says, whatever reads them."""
    spans = [(*m.span(), (i + 1) / 10) for i, m in enumerate(re.finditer(r"\S+", TEXT))]
    row = row_of(spans=spans)
    starts, ends = (np.array(values) for values in zip(*[s[:2] for s in spans], strict=True))
    assert spread_weights(row.weighted, starts, ends) == pytest.approx([s[2] for s in spans])
    turns = swift_row(row)["messages"][1:-1]
    assert [turn["loss_scale"] for turn in turns] == [s[2] for s in spans]
