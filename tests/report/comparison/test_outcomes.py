"""Files of outcomes: written, read again, merged, and refused where they contradict each other."""

import dataclasses

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.report.comparison.data import StagePoint
from kpod_ray.report.comparison.outcomes import (
    ChosenRate,
    Outcomes,
    QuestionSet,
    TrialOutcome,
    complete_seeds,
    outcome_lines,
    read_outcomes,
)

QUESTIONS = QuestionSet(("a", "b", "c"), (1, 2, 2))
RATE = ChosenRate("kpod", "f2", 1e-3, ((1e-4, 0.25), (1e-3, 0.5)))


def trial(arm="kpod", seed=0, correct="101", settings="f2", **further):
    return TrialOutcome(arm, seed, settings, correct, **further)


def outcomes_of(*trials, rate=None):
    outcomes = Outcomes(QUESTIONS)
    for one in trials:
        outcomes = outcomes.with_trial(one)
    return outcomes.with_rate(rate) if rate else outcomes


FULL = trial(
    learning_rate=1e-3,
    supervised_tokens=10,
    train_tokens=20,
    train_steps=3,
    train_seconds=1.5,
    cost_tokens=40,
    cost_seconds=2.5,
    curve=(
        StagePoint(1, 0.5, 0.25, 10, 1.5, None, 0.5),
        StagePoint(2, 0.5, 0.2, 20, 0.0, 0.5, 1.0),
    ),
    nodes={"n": {"group": "a"}},
    also={"sums": (3, 4)},
)


def test_what_is_written_is_read_again():
    outcomes = outcomes_of(FULL, trial(seed=1), trial("uniform"), rate=RATE)
    text = outcome_lines(outcomes)
    assert read_outcomes(text, "o.jsonl") == outcomes
    assert outcome_lines(read_outcomes(text, "o.jsonl")) == text
    assert read_outcomes("", "o.jsonl") == Outcomes()
    assert (FULL.accuracy, trial(correct="000").accuracy) == (pytest.approx(2 / 3), 0)


def test_a_trial_of_1200_questions_takes_less_than_two_kilobytes():
    long = trial(correct="10" * 600)
    assert len(outcome_lines(Outcomes().with_trial(long))) < 2000


def test_files_of_different_seeds_are_merged():
    one, other = outcomes_of(FULL, trial("uniform"), rate=RATE), outcomes_of(trial(seed=1))
    merged = one.merged(other, "b.jsonl")
    assert set(merged.trials) == {("kpod", 0), ("kpod", 1), ("uniform", 0)}
    assert merged == other.merged(one, "a.jsonl")
    assert merged.rates == {"kpod": RATE}
    assert Outcomes().merged(one, "a.jsonl") == one.merged(Outcomes(), "") == one
    assert complete_seeds(merged, ["kpod", "uniform"]) == [0]
    assert complete_seeds(merged, ["kpod"]) == [0, 1]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Outcomes(QuestionSet(("a", "b", "d"), (1, 2, 2))), "other test questions than"),
        (outcomes_of(trial(correct="111")), "arm kpod with seed 0 has another outcome than before"),
        (outcomes_of(trial(settings="f3")), "arm kpod with seed 0 has another outcome than before"),
        (
            outcomes_of(rate=dataclasses.replace(RATE, learning_rate=1e-4)),
            "arm kpod has the learning rate 0.0001, and 0.001 before",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(other, words):
    with pytest.raises(KpodError, match=rf"^outcomes b.jsonl: .*{words}[^\n]*$"):
        outcomes_of(FULL, rate=RATE).merged(other, "b.jsonl")


def test_the_untouched_student_may_round_otherwise_on_another_machine():
    mine, other = (outcomes_of(trial("untrained", correct=text)) for text in ("101", "100"))
    assert mine.merged(other, "b.jsonl") == mine


HEADER = outcome_lines(Outcomes(QUESTIONS)).strip()
LINE = outcome_lines(Outcomes().with_trial(trial())).strip()
RATE_LINE = outcome_lines(Outcomes().with_rate(RATE)).strip()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["{"], "line 1: Invalid JSON"),
        ([LINE], "line 1: the first line alone holds the test questions"),
        ([HEADER, HEADER], "line 2: the first line alone holds the test questions"),
        ([HEADER, LINE, LINE], "line 3: arm kpod with seed 0 again; remove one line"),
        ([HEADER, LINE.replace('"101"', '"10"')], "line 2: 2 answers to 3 questions"),
        ([HEADER, LINE.replace('"101"', '"1x1"')], "line 2: correct: String should match"),
        ([HEADER, LINE.replace('"seed":0', '"seed":"x"')], "line 2: seed: Input should be a valid"),
        ([HEADER, LINE.replace('"seed":0', '"sed":0')], "line 2: "),
        ([HEADER, '{"kind":"else"}'], "line 2: "),
        (
            [HEADER.replace("[1,2,2]", "[1,2]")],
            "line 1: Value error, 3 ids, but 2 numbers of steps",
        ),
        ([HEADER, RATE_LINE, RATE_LINE], "line 3: a second learning rate"),
    ],
)
def test_a_damaged_file_is_told_with_its_line(lines, words):
    with pytest.raises(KpodError) as caught:
        read_outcomes("\n".join(lines), "o.jsonl")
    assert str(caught.value).startswith(f"outcomes o.jsonl {words}")
    assert "\n" not in str(caught.value)
