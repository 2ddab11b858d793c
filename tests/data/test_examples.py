"""Weights and steps follow their characters through any tokenizer."""

import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import (
    Example,
    build_example,
    cut_example,
    encode_with_spans,
    spread_weights,
)
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.data.token_kinds import KEYPOINT, token_kinds
from kpod_ray.records import Question, WeightedRationale

QUESTION = Question("q", "How many?", "7", "number", (), "train", "")
CLOSING = " Therefore, the answer is 7."
TEXT = "There are 3 apples in each of 4 boxes. She eats 1.5 of them.\nSo 12 - 1.5 = 10.5 are left."
TEXTS = [TEXT, "Un café coûte 2.50 €. Deux cafés coûtent 5 €.", "Half of 14 is 7."]

WORDS = r"\S+"
THREES = r"(?s).{1,3}"


def weighted(text, pattern=WORDS, weights=None):
    """Return a rationale whose weighter's tokens are the pattern's matches, each of its own weight."""
    spans = [match.span() for match in re.finditer(pattern, text)]
    if weights is None:
        weights = [(i + 1) / (len(spans) + 1) for i in range(len(spans))]
    steps = split_steps(text, split_newlines=True)
    return WeightedRationale(
        "q", text, *zip(*spans, strict=True), weights, *zip(*steps, strict=True)
    )


def mean_weight_of_characters(rationale, start, end):
    """The mean weight over a span's characters that have one, its leading blanks left out."""
    while start < end - 1 and rationale.text[start : start + 1].isspace():
        start += 1
    spans = zip(rationale.token_starts, rationale.token_ends, rationale.token_weights, strict=True)
    found = [w for s, e, w in spans for i in range(max(s, start), min(e, end)) if i < e]
    return np.mean(found if found else rationale.token_weights)


def rationale_length(example):
    return sum(step < example.num_steps for step in example.token_steps)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pattern", [WORDS, THREES], ids=["words", "threes"])
def test_a_token_has_the_mean_weight_of_its_characters(tokenizer, text, pattern):
    rationale = weighted(text, pattern)
    example = build_example(tokenizer, QUESTION, rationale, "plain")
    offsets = tokenizer(text, return_offsets_mapping=True).offset_mapping
    expected = [mean_weight_of_characters(rationale, start, end) for start, end in offsets]
    assert rationale_length(example) == len(expected)
    assert example.token_weights[: len(expected)] == pytest.approx(expected)


def test_every_piece_of_a_word_has_the_weight_of_the_word(tokenizer):
    # By hand: "Half" .2, "14" .4, "7." .8; blanks belong to no weighted token, so they have the
    # mean weight wherever a token is a blank alone.
    text = "Half 14 7."
    rationale = weighted(text, weights=[0.2, 0.4, 0.8])
    example = build_example(tokenizer, QUESTION, rationale, "plain")
    of_word = {0.2: "Half", 0.4: "14", 0.8: "7."}
    pieces = {weight: "" for weight in of_word}
    for token, weight in zip(example.target_ids, example.token_weights, strict=True):
        nearest = min(of_word, key=lambda known: abs(known - weight))
        if abs(nearest - weight) < 1e-9:
            pieces[nearest] += tokenizer.decode([token])
    assert {weight: piece.strip() for weight, piece in pieces.items()} == of_word


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_weights_of_the_same_tokenizer_come_back_to_every_token_with_characters(tokenizer, data):
    ids, starts, ends = encode_with_spans(tokenizer, TEXT)
    one_per_token = st.lists(st.floats(0.01, 0.99), min_size=len(ids), max_size=len(ids))
    weights = data.draw(one_per_token)
    rationale = WeightedRationale(
        "q", TEXT, starts.tolist(), ends.tolist(), weights, [0], [len(TEXT)]
    )
    example = build_example(tokenizer, QUESTION, rationale, "plain")
    assert example.target_ids[: len(ids)] == ids
    has_characters = starts < ends  # trimmed offsets leave a lone blank none
    assert has_characters.mean() > 0.9
    found = np.array(example.token_weights[: len(ids)])
    assert found[has_characters] == pytest.approx(np.array(weights)[has_characters])


def test_the_answer_segment_has_weight_1_and_is_the_step_after_the_last(tokenizer):
    example = build_example(tokenizer, QUESTION, weighted(TEXT), "plain")
    length = rationale_length(example)
    assert set(example.token_weights[length:]) == {1.0}
    assert set(example.token_steps[length:]) == {example.num_steps}
    assert tokenizer.decode(example.target_ids[length:-1]) == CLOSING


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_of_a_step_are_its_text(tokenizer, text):
    rationale = weighted(text)
    example = build_example(tokenizer, QUESTION, rationale, "plain")
    spans = zip(rationale.step_starts, rationale.step_ends, strict=True)
    expected = [text[start:end] for start, end in spans]
    steps = np.array(example.token_steps[:-1])
    ids = np.array(example.target_ids[:-1])
    found = [tokenizer.decode(ids[steps == k].tolist()) for k in range(example.num_steps + 1)]
    assert found == [*expected, CLOSING]
    assert example.num_steps == len(expected)
    assert example.token_steps == sorted(example.token_steps)


def test_a_target_ends_with_the_end_of_sequence_once(tokenizer):
    example = build_example(tokenizer, QUESTION, weighted(TEXT), "plain")
    assert example.target_ids.index(tokenizer.eos_token_id) == len(example.target_ids) - 1
    assert tokenizer.decode(example.target_ids[:-1]) == TEXT + CLOSING


def test_prompt_and_target_are_counted_together(tokenizer):
    example = build_example(tokenizer, QUESTION, weighted(TEXT), "plain")
    assert example.prompt_ids == encode_prompt(tokenizer, "How many?", "plain")
    assert example.num_tokens() == len(example.prompt_ids) + len(example.target_ids)
    assert len(example.target_ids) == len(example.token_weights) == len(example.token_steps)


def test_blanks_after_the_rationale_add_nothing(tokenizer):
    spaced = WeightedRationale("q", f"{TEXT} \n", [0], [5], [0.5], [0], [len(TEXT) + 2])
    plain = WeightedRationale("q", TEXT, [0], [5], [0.5], [0], [len(TEXT)])
    examples = [build_example(tokenizer, QUESTION, r, "plain") for r in (spaced, plain)]
    assert examples[0] == examples[1]


def test_a_span_starts_at_its_first_character_that_is_no_blank(tokenizer):
    text = "So  12 eggs.\nShe"
    ids, starts, ends = encode_with_spans(tokenizer, text)
    offsets = tokenizer(text, return_offsets_mapping=True).offset_mapping
    assert len(ids) == len(starts) == len(ends)
    for start, end, (raw_start, raw_end) in zip(starts, ends, offsets, strict=True):
        assert raw_start <= start <= end == raw_end
        assert text[start:end].strip() == text[start:end] or not text[raw_start:raw_end].strip()
        assert text[raw_start:start].strip() == ""


def test_no_text_has_no_tokens(tokenizer):
    ids, starts, ends = encode_with_spans(tokenizer, "")
    assert (ids, starts.tolist(), ends.tolist()) == ([], [], [])


def test_spread_weights_by_hand():
    # Characters 0-1 weigh .2, characters 2-5 weigh .8, character 6 has none.
    rationale = WeightedRationale("q", "abcdef ", [0, 2], [2, 6], [0.2, 0.8], [0], [7])
    starts, ends = np.array([0, 0, 1, 3, 6, 5, 9]), np.array([2, 6, 4, 6, 7, 12, 12])
    # (2 * .2 + 4 * .8) / 6 = .6 and (.2 + 2 * .8) / 3 = .6; without a weighted character: the mean .5.
    expected = [0.2, 0.6, 0.6, 0.8, 0.5, 0.8, 0.5]
    assert spread_weights(rationale, starts, ends).tolist() == pytest.approx(expected)


def test_tokens_that_share_a_character_share_their_weights():
    # The two bytes of the e with an acute accent: (.2 + .6) / 2 = .4, and .4 over "fé" with f at .4.
    rationale = WeightedRationale("q", "fé", [0, 1, 1], [1, 2, 2], [0.4, 0.2, 0.6], [0], [2])
    weights = spread_weights(rationale, np.array([1, 1, 0]), np.array([2, 2, 2]))
    assert weights.tolist() == pytest.approx([0.4, 0.4, 0.4])


def test_an_empty_token_has_the_weight_of_the_empty_tokens_at_its_place():
    # Blanks whose offsets are trimmed: one of weight .9 at 1, two of .2 and .4 at 3; the mean is .5.
    starts, ends, weights = [0, 1, 1, 3, 3], [1, 1, 3, 3, 3], [0.6, 0.9, 0.4, 0.2, 0.4]
    rationale = WeightedRationale("q", "abc", starts, ends, weights, [0], [3])
    asked = np.array([0, 1, 1, 3, 2]), np.array([1, 1, 3, 3, 2])
    assert spread_weights(rationale, *asked).tolist() == pytest.approx([0.6, 0.9, 0.4, 0.3, 0.5])


def test_a_rationale_without_weighted_tokens_weighs_1():
    rationale = WeightedRationale("q", "ab", [], [], [], [0], [2])
    assert spread_weights(rationale, np.array([0]), np.array([2])).tolist() == [1]


@pytest.mark.parametrize("text", [*TEXTS, "One.\n\nTwo is 2.  Then 3. \n 4 + 5 = 9. There it is"])
def test_boundaries_are_where_the_closing_may_follow(tokenizer, text):
    example = build_example(tokenizer, QUESTION, weighted(text), "plain")
    _, starts, ends = encode_with_spans(tokenizer, text + CLOSING)
    is_blank = [not (text + CLOSING)[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    ids, steps = example.target_ids[:-1], example.token_steps[:-1]
    length = rationale_length(example)
    closing = ids[length:]

    @functools.cache
    def is_boundary(j):
        """A token is one if a step begins at it or behind blanks, or behind a start of the closing."""
        later = next((i for i in range(j, length) if i == 0 or steps[i] != steps[i - 1]), None)
        if later is not None and all(is_blank[j:later]):
            return True
        run = next(
            i for i in reversed(range(j)) if is_boundary(i) and not (i and is_boundary(i - 1))
        )
        return ids[run:j] == closing[: j - run]

    expected = [is_boundary(j) for j in range(length)]
    assert example.token_boundaries == expected + [False] * (len(closing) + 1)
    assert {step for step, b in zip(steps, expected, strict=False) if b} >= set(steps[:length])


def test_boundaries_of_bytes_by_hand(tiny_tokenizer):
    rationale = weighted("1 is a.\n2 is b. 3 is c. Then 4 is d.")
    example = build_example(tiny_tokenizer, QUESTION, rationale, "plain")  # a token is a byte
    marked = [j for j, is_boundary in enumerate(example.token_boundaries) if is_boundary]
    # The first byte; the newline and the 2; the blank that a step and the closing may begin with, and
    # the 3; " Then" down to its last letter, where it parts from " Therefore".
    assert marked == [0, 7, 8, 15, 16, 23, 24, 25, 26, 27]
    assert "".join(rationale.text[j] for j in marked) == "1\n2 3 Then"


def test_only_the_first_word_of_a_step_is_a_boundary_for_words(words):
    rationale = weighted("There are 3 eggs. So there are 4.")
    example = build_example(words, QUESTION, rationale, "plain")
    pieces = [words.decode([index]) for index in example.target_ids]
    marked = zip(pieces, example.token_boundaries, strict=True)
    assert [piece for piece, is_boundary in marked if is_boundary] == ["There", " So"]


def test_keypoints_are_those_of_the_rationale_alone(tokenizer):
    example = build_example(tokenizer, QUESTION, weighted(TEXT), "plain")
    _, starts, ends = encode_with_spans(tokenizer, TEXT + CLOSING)
    kinds = token_kinds(TEXT + CLOSING, starts.tolist(), ends.tolist())
    inside = starts < len(TEXT)
    assert example.token_keypoints == [*((kinds == KEYPOINT) & inside).tolist(), False]
    assert any(example.token_keypoints)


def test_an_example_survives_its_table(tokenizer):
    example = build_example(tokenizer, QUESTION, weighted(TEXT), "plain")
    (read,) = Example.from_table(Example.to_table([example]))
    assert read.token_weights == pytest.approx(example.token_weights, rel=1e-6)
    for name in ("prompt_ids", "target_ids", "token_steps", "token_keypoints", "token_boundaries"):
        assert list(getattr(read, name)) == getattr(example, name)
    assert (read.question_id, read.num_steps) == (example.question_id, example.num_steps)


STEPS = Example(
    question_id="q",
    prompt_ids=[1, 2],
    target_ids=[10, 11, 12, 13, 14, 15],
    token_weights=[0.1, 0.2, 0.3, 0.4, 1.0, 1.0],
    token_steps=[0, 0, 1, 3, 4, 4],  # step 2 has no token of its own, 4 is the answer
    token_keypoints=[False, True, False, True, False, False],
    token_boundaries=[True, False, True, True, False, False],
    num_steps=4,
)


@pytest.mark.parametrize(
    ("max_length", "num_kept", "num_steps"),
    [(7, 4, 4), (6, 4, 4), (5, 3, 2), (4, 2, 1)],
)
def test_an_example_is_cut_after_the_last_step_that_fits(max_length, num_kept, num_steps):
    cut = cut_example(STEPS, max_length)
    assert cut == Example(
        "q",
        [1, 2],
        STEPS.target_ids[:num_kept],
        STEPS.token_weights[:num_kept],
        STEPS.token_steps[:num_kept],
        STEPS.token_keypoints[:num_kept],
        STEPS.token_boundaries[:num_kept],
        num_steps,
    )


@pytest.mark.parametrize("max_length", [0, 2, 3])
def test_an_example_whose_first_step_does_not_fit_is_none(max_length):
    assert cut_example(STEPS, max_length) is None
