import pytest

from kpod_ray.report.formatting import NO_BREAK_SPACE
from kpod_ray.report.run import wording
from kpod_ray.report.run.data import Accuracy

LOW = Accuracy("before", 6, 48, 0.059, 0.247)
HIGH = Accuracy("after", 23, 48, 0.345, 0.617)
NEAR = Accuracy("near", 10, 48, 0.117, 0.343)


def plain(text):
    return text.replace(NO_BREAK_SPACE, " ").replace("\u2212", "-")


def test_overlapping_intervals_are_called_not_distinguishable():
    words = plain(wording.difference_in_words(LOW, NEAR))
    assert words == "not distinguishable with 48 questions (95 % intervals overlap)"


def test_both_numbers_of_questions_are_named_when_they_differ():
    other = Accuracy("other", 1, 6, 0.0, 0.6)
    assert "with 6 and 48 questions" in wording.difference_in_words(LOW, other)


@pytest.mark.parametrize(
    ("before", "after", "words"), [(LOW, HIGH, "better"), (HIGH, LOW, "worse")]
)
def test_separate_intervals_are_called_by_their_direction(before, after, words):
    assert wording.difference_in_words(before, after) == words


def test_a_model_without_questions_is_not_compared():
    empty = Accuracy("empty", 0, 0, 0.0, 1.0)
    assert "no questions" in wording.difference_in_words(LOW, empty)
    assert "nan" not in wording.verdict_line((LOW, empty))


def test_the_verdict_compares_the_last_model_with_the_first():
    assert plain(wording.verdict_line((LOW, NEAR, HIGH))) == (
        "after: 47.9 % of 48 test questions correct, against 12.5 % for before (+35.4 points). "
        "Better: the 95 % intervals do not overlap."
    )


def test_the_verdict_does_not_claim_a_difference_that_overlaps():
    line = plain(wording.verdict_line((LOW, NEAR)))
    assert line.endswith("Not distinguishable with 48 questions (95 % intervals overlap).")
    assert "Better" not in line


@pytest.mark.parametrize(
    ("accuracies", "part"), [((), "No model"), ((HIGH,), "no other model to compare")]
)
def test_the_verdict_says_when_there_is_nothing_to_compare(accuracies, part):
    assert part in wording.verdict_line(accuracies)
