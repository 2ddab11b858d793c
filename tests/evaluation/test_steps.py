"""Reasoning steps of answers against those of gold rationales, by hand."""

import dataclasses
import json

import pytest

from kpod_ray.evaluation.steps import StepStatistics, step_statistics, with_steps
from kpod_ray.records import Prediction, Question

GOLD = "4 + 2 = 6.\n6 * 3 = 18. So 18 - 1 = 17 are left. The answer is 17."
QUESTION = Question("q", "How many?", "17", "number", (), "test", GOLD)
CLOSING = "Therefore, the answer is 17."


def predicted(text, finish_reason="stop", question=QUESTION, split_newlines=True):
    prediction = Prediction("q", text, finish_reason, 9, "17", "17", True)
    return with_steps(prediction, question, split_newlines)


@pytest.mark.parametrize(
    ("text", "num_steps"),
    [
        (f"4 + 2 = 6. 6 * 3 = 18. 18 - 1 = 17. {CLOSING}", 3),
        (f"4 + 2 = 6. {CLOSING}", 1),
        (CLOSING, 0),
        ("", 0),
        ("4 + 2 = 6. 6 * 3", 2),
        ("4 + 2 = 6\n6 * 3 = 18, so the answer is 18.", 2),
    ],
)
def test_the_closing_is_no_step(text, num_steps):
    row = predicted(text)
    assert (row.num_steps, row.num_gold_steps) == (num_steps, 3)


def test_generated_and_gold_text_are_split_alike():
    text = "4 + 2 = 6\n6 * 3 = 18. So 17."
    assert predicted(text).num_steps == 3
    assert predicted(text, split_newlines=False).num_steps == 2
    lines = dataclasses.replace(QUESTION, reference_rationale="4 + 2 = 6\n6 * 3 = 18")
    assert predicted("", question=lines).num_gold_steps == 2
    assert predicted("", question=lines, split_newlines=False).num_gold_steps == 1


@pytest.mark.parametrize("reference", ["", " \n", "The answer is 17."])
def test_without_a_gold_rationale_nothing_is_guessed(reference):
    question = dataclasses.replace(QUESTION, reference_rationale=reference)
    assert predicted("4 + 2 = 6.", question=question).num_gold_steps is None


def test_an_error_row_has_no_steps():
    assert predicted("connection lost. try again.", "error").num_steps is None


def row(num_steps, num_gold_steps, is_correct=False, finish_reason="stop"):
    return Prediction("q", "", finish_reason, 1, "", "", is_correct, num_steps, num_gold_steps)


def test_statistics_by_hand():
    rows = [
        row(3, 3, True),
        row(1, 3),  # early: 2 steps short
        row(2, 3, finish_reason="length"),  # 1 step short, but cut off
        row(4, 2, True),  # 2 too many
        row(1, 2),  # early: 1 step short
        row(5, None, True),  # no gold rationale
        row(None, 2, finish_reason="error"),
    ]
    # (0 - 2 - 1 + 2 - 1) / 5 = -.4; 2 of 5 early.
    assert step_statistics(rows) == StepStatistics(5, -0.4, 0.4, ((2, 2, 1), (3, 3, 1)))


@pytest.mark.parametrize("rows", [[], [row(2, None)], [row(None, 2)]])
def test_nothing_to_compare_has_no_statistics(rows):
    assert step_statistics(rows) == StepStatistics(0, None, None, ())


def test_statistics_survive_the_manifest():
    found = step_statistics([row(3, 3, True), row(1, 2)])
    read = json.loads(json.dumps(dataclasses.asdict(found)))
    assert read == {
        "num_compared": 2,
        "generated_minus_gold": -0.5,
        "early_stops": 0.5,
        "by_gold_steps": [[2, 1, 0], [3, 1, 1]],
    }


def test_steps_survive_the_table():
    rows = [row(3, None), row(None, 2), row(0, 1)]
    assert Prediction.from_table(Prediction.to_table(rows)) == rows
