"""Weights by a rule: what a student is trained with is the rule applied to each of its tokens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import Example, build_example, encode_with_spans
from kpod_ray.data.prompts import target_text
from kpod_ray.models.random_models import byte_tokenizer
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.weighting.hand_weights import hand_weighted, has_digit_or_operator

QUESTION = Question("q", "How many?", "7", "number", (), "train", "")
SIGNS = "+-*/=<>^%\u00d7\u00f7\u2212"
TEXTS = [
    "There are 3 apples in each of 4 boxes. She eats 1.5 of them.\nSo 12 - 1.5 = 10.5 are left.",
    "Un café coûte 2.50 €. Deux cafés coûtent 5 €.",
    "Half of 14 is 7.",
    "\U0001f600 3 \U0001f600.\n\n  2 \u00d7 3 = 6  ",
    "No sign at all.",
]


def weigh(text, tokenizer, plain_weight=0.3):
    rationale = Rationale("q/0", "q", 0, text, "t", "stop", 0, "7", "kept")
    return hand_weighted(rationale, tokenizer, plain_weight, split_newlines=True)


def trained_with(text, tokenizer, plain_weight=0.3):
    """Return the weights of the tokens that are trained on, as the tables of the phases hold them."""
    table = WeightedRationale.to_table([weigh(text, tokenizer, plain_weight)])
    (row,) = WeightedRationale.from_table(table)
    example = build_example(tokenizer, QUESTION, row, "plain")
    (example,) = Example.from_table(Example.to_table([example]))
    return list(example.token_weights)


def by_rule(text, tokenizer, plain_weight):
    """The rule on the tokens of what the student writes; those of the answer segment weigh 1."""
    target, answer_start = target_text(text, QUESTION.answer)
    _, starts, ends = encode_with_spans(tokenizer, target)
    is_plain = [
        start < answer_start and not any(c.isdigit() or c in SIGNS for c in target[start:end])
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return [*(plain_weight if plain else 1.0 for plain in is_plain), 1.0]


def test_weights_by_hand():
    text = "Half of 14 is 14 / 2 = 7, and he has x<3 at 50%: pull-out."
    row = weigh(text, byte_tokenizer(), plain_weight=0.25)
    found = "".join(c if w == 1 else "_" for c, w in zip(text, row.token_weights, strict=True))
    assert found == "________14____14_/_2_=_7______________<3____50%______-____"
    assert set(row.token_weights) == {0.25, 1.0}
    weights = trained_with(text, byte_tokenizer(), plain_weight=0.25)
    assert weights[: len(text)] == row.token_weights
    answer = " Therefore, the answer is 7."
    assert weights[len(text) :] == [1.0] * (len(answer) + 1)  # and the end-of-sequence token


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("plain_weight", [0.25, 0.0, 1.0])
def test_a_student_is_trained_with_the_rule_on_its_own_tokens(tokenizer, text, plain_weight):
    assert trained_with(text, tokenizer, plain_weight) == by_rule(text, tokenizer, plain_weight)


@settings(deadline=None)
@given(st.text(alphabet=" \nab3.5+-=\u00d7\u20ac\u00e9\U0001f600", min_size=1))
def test_a_student_is_trained_with_the_rule_on_any_text(tokenizer, text):
    assert trained_with(text, tokenizer, 0.25) == by_rule(text, tokenizer, 0.25)


@pytest.mark.parametrize("text", TEXTS)
def test_reasoning_steps_are_found(text):
    row = weigh(text, byte_tokenizer())
    assert list(zip(row.step_starts, row.step_ends, strict=True)) == split_steps(
        text, split_newlines=True
    )


@pytest.mark.parametrize("text", ["3", "a 3", "1.5", "+", "x<3", "\u00d7", "\u2212"])
def test_digits_and_operators_are_seen(text):
    assert has_digit_or_operator(text)


@pytest.mark.parametrize("text", ["", " ", "three", ".", ",", "(x)", "\u20ac"])
def test_other_texts_have_neither(text):
    assert not has_digit_or_operator(text)
