"""Accuracies of a run as rows, compared on the questions that both models answered."""

import dataclasses

from kpod_ray.evaluation.paired import paired_test
from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.report.run.accuracy_rows import accuracy_rows, gold_step_rows
from kpod_ray.report.run.data import Accuracy, RunResults
from kpod_ray.report.run.page import tiles
from kpod_ray.report.run.wording import verdict_line


def test_models_are_compared_with_the_first(results):
    rows = accuracy_rows(results)
    assert [row.words.split(" ")[0] for row in rows] == ["", "not", "better"]
    assert rows[2].difference == "+35.4\u00a0points"
    assert rows[2].difference_interval == "+18.8 to +52.1"
    assert (rows[0].difference, rows[0].difference_interval) == ("\u2013", "")


def test_accuracies_are_shown_by_the_gold_steps_of_the_last_model_with_intervals(results):
    def text(num_correct, num_questions):
        low, high = (100 * end for end in wilson_interval(num_correct, num_questions))
        return f"{100 * num_correct / num_questions:.1f}\u00a0% ({low:.1f}\u00a0to\u00a0{high:.1f})"

    assert text(6, 30) == "20.0\u00a0% (9.5\u00a0to\u00a037.3)"
    assert gold_step_rows(results) == [
        ["2", "30", text(6, 30), "\u2013", text(18, 30)],
        ["3", "10", text(0, 10), "\u2013", text(4, 10)],
        ["5", "8", "\u2013", "\u2013", text(1, 8)],
    ]
    assert gold_step_rows(RunResults("x")) == []


def different_questions():
    """A run whose models answered 10 and 20 questions, 10 of them both: 2 right before, 7 after."""
    test = paired_test([True] * 2 + [False] * 8, [True] * 7 + [False] * 3)
    before = Accuracy("untouched", 2, 10, *wilson_interval(2, 10))
    after = Accuracy("distilled", 8, 20, *wilson_interval(8, 20), test)
    return RunResults("x", accuracies=(before, after))


def test_a_difference_has_one_denominator_the_questions_of_both():
    results = different_questions()
    row = accuracy_rows(results)[1]
    assert row.accuracy == "40.0\u00a0%"
    assert row.difference == "+50.0\u00a0points"
    shown = {tile.name: tile.value for tile in tiles(results)}
    assert shown["Difference in points"] == "+50.0"
    line = verdict_line(results.accuracies).replace("\u00a0", " ")
    assert line.startswith(
        "distilled: 40.0 % of 20 test questions correct, against 20.0 % for untouched of 10; on the "
        "10 questions of both: +50.0 points"
    )


def test_equal_answers_have_no_interval_that_would_look_exact():
    before, after = different_questions().accuracies
    same = dataclasses.replace(after, against_first=paired_test([True, False], [True, False]))
    results = RunResults("x", accuracies=(before, same))
    row = accuracy_rows(results)[1]
    assert (row.difference, row.difference_interval) == ("0.0\u00a0points", "")
    (tile,) = [tile for tile in tiles(results) if tile.name == "Difference in points"]
    assert (tile.value, tile.remark) == ("0.0", "the same answers are right")


def test_without_a_question_of_both_there_is_no_difference():
    before, after = different_questions().accuracies
    results = RunResults("x", accuracies=(before, dataclasses.replace(after, against_first=None)))
    assert accuracy_rows(results)[1].difference == "\u2013"
    assert [tile.name for tile in tiles(results)] == ["Accuracy"]
