import dataclasses

import pytest

from kpod_ray.evaluation.paired import paired_test
from kpod_ray.report.formatting import NO_BREAK_SPACE
from kpod_ray.report.paired_words import comparison_in_words
from kpod_ray.report.run import wording
from kpod_ray.report.run.data import Accuracy
from tests.report.run.runs import changed

LOW = Accuracy("before", 6, 48, 0.059, 0.247)
HIGH = Accuracy("after", 23, 48, 0.345, 0.617, changed(19, 2))
NEAR = Accuracy("near", 10, 48, 0.117, 0.343, changed(10, 6))


def plain(text):
    return text.replace(NO_BREAK_SPACE, " ").replace("\u202f", " ").replace("\u2212", "-")


def test_answers_that_change_in_both_directions_are_called_not_distinguishable():
    words = plain(wording.difference_in_words(NEAR))
    assert words.startswith("not distinguishable with 48 questions (McNemar's p = 0.454; the test")
    assert words.endswith("points)")


def test_one_question_is_no_questions():
    one = dataclasses.replace(NEAR, against_first=paired_test([True], [True]))
    assert "with 1 question (" in wording.difference_in_words(one)


def test_intervals_that_overlap_may_belong_to_different_models():
    before, after = [True] * 100 + [False] * 100, [True] * 110 + [False] * 90
    near = Accuracy("after", 110, 200, 0.48, 0.62, paired_test(before, after))
    assert Accuracy("before", 100, 200, 0.43, 0.57).high > near.low
    assert plain(wording.difference_in_words(near)) == "better (McNemar's p = 0.002)"


@pytest.mark.parametrize(("num_better", "num_worse", "words"), [(19, 2, "better"), (0, 6, "worse")])
def test_a_change_in_one_direction_is_called_by_its_direction(num_better, num_worse, words):
    after = dataclasses.replace(HIGH, against_first=changed(num_better, num_worse))
    assert wording.difference_in_words(after).partition(" ")[0] == words


def test_a_model_without_questions_is_not_compared():
    empty = Accuracy("empty", 0, 0, 0.0, 1.0)
    assert "no question" in wording.difference_in_words(empty)
    assert "nan" not in wording.verdict_line((LOW, empty))


def test_the_verdict_compares_the_last_model_with_the_first():
    line = plain(wording.verdict_line((LOW, NEAR, HIGH)))
    assert line.startswith(
        "after: 47.9 % of 48 test questions correct, against 12.5 % for before: +35.4 points (95 % "
        "interval +"
    )
    assert line.endswith(
        "19 questions right only afterwards and 2 only before: better (McNemar's p < 0.001)."
    )


def test_the_verdict_does_not_claim_a_difference_that_the_test_does_not_find():
    line = plain(wording.verdict_line((LOW, NEAR)))
    assert "not distinguishable with 48 questions (McNemar's p = 0.454" in line
    assert "better" not in line


def test_equal_answers_are_told_with_what_the_test_could_have_seen():
    line = plain(comparison_in_words(changed(0, 0)))
    assert line.startswith("0.0 points, the same answers are right: not distinguishable with 48")
    assert "0.0 to 0.0" not in line
    assert line.endswith("(McNemar's p = 1.000; the test could have seen 10.1 points)")


@pytest.mark.parametrize(
    ("accuracies", "part"), [((), "No model"), ((HIGH,), "no other model to compare")]
)
def test_the_verdict_says_when_there_is_nothing_to_compare(accuracies, part):
    assert part in wording.verdict_line(accuracies)
