"""Accuracies on further test sets in a comparison: collected, assembled, and in tables of their own."""

import dataclasses

import pytest

from kpod_ray.records import Prediction
from kpod_ray.report.comparison.assemble import assemble_results
from kpod_ray.report.comparison.collect import collect_questions, collect_untrained
from kpod_ray.report.comparison.data import StagePoint
from kpod_ray.report.comparison.further_sets import further_set_table
from kpod_ray.report.comparison.markdown import comparison_markdown
from kpod_ray.report.comparison.outcomes import Outcomes, TrialOutcome
from kpod_ray.report.comparison.page import render_comparison
from kpod_ray.report.comparison.tables import comparison_rows
from tests.evaluation.test_further import SOURCES
from tests.pipeline.further_sets import SETS, finish_further_sets
from tests.pipeline.written_runs import QUESTIONS, TEXTS, finish, written_run
from tests.report.comparison.test_markdown import tables


@pytest.fixture
def run(tmp_path):
    tested = [dataclasses.replace(QUESTIONS[0], split="test"), *QUESTIONS[1:]]
    made = written_run(tmp_path, tested, TEXTS, evaluation={"also": SOURCES})
    rows = [Prediction(QUESTIONS[0].id, "", "stop", 1, "", "", True)]
    finish(made, "evaluate_before", {"versions": {}}, predictions=Prediction.to_table(rows))
    finish_further_sets(made)
    return made


@pytest.fixture
def results(run):
    """The untouched student and two seeds of uniform: 20 of 40 and 30 of 38 sums right."""
    questions = collect_questions(run.config, run.artifacts["questions"])
    outcomes = Outcomes(questions)
    outcomes = outcomes.with_trial(collect_untrained("f", run.artifacts, questions))
    for seed, counts in enumerate([(20, 40), (30, 38)]):
        also = {"sums": counts, "odd-one": (1, 2)}
        curve = (StagePoint(1, 0.5, 0.25, 10, 0.0),)
        trial = TrialOutcome("uniform", seed, "f", "1", also=also, train_steps=1, curve=curve)
        outcomes = outcomes.with_trial(trial)
    changes = {"comparison.num_seeds": 2, "comparison.arms": ["uniform"]}
    return assemble_results(run.config.override(changes), outcomes)


def test_counts_are_those_of_the_manifests(run):
    questions = collect_questions(run.config, run.artifacts["questions"])
    outcome = collect_untrained("f", run.artifacts, questions)
    assert outcome.also == {name: (sum(before), len(before)) for name, (before, _) in SETS.items()}
    assert outcome.settings == "f"


def test_accuracies_are_means_over_the_seeds(results):
    head, rows = further_set_table(results)
    assert head == ["Arm", "sums (38 to 40)", "odd-one (2)"]
    mean = (20 / 40 + 30 / 38) / 2
    assert rows == [
        ["untrained", "25.0\u00a0%", "50.0\u00a0%"],
        ["uniform", f"{100 * mean:.1f}\u00a0%", "50.0\u00a0%"],
    ]
    untrained, uniform = comparison_rows(results)
    assert (untrained["accuracy_sums"], untrained["accuracy_odd-one"]) == (0.25, 0.5)
    assert uniform["accuracy_sums"] == pytest.approx(mean)


def test_both_pages_show_the_table_and_nothing_without_sets(results, comparison, parse_page):
    shown = tables(comparison_markdown(results))[-1]
    assert [shown[0], *shown[2:]] == [
        ["Arm", "sums (38 to 40)", "odd-one (2)"],
        *further_set_table(results)[1],
    ]
    page = parse_page(render_comparison(results))
    assert page.open == []
    assert "38 to 40" in page.sections["further"]
    assert further_set_table(comparison)[1] == []
    assert "Further test sets" not in comparison_markdown(comparison)
    assert "further" not in parse_page(render_comparison(comparison)).sections


def test_a_set_that_a_seed_has_not_answered_is_left_out(results, run):
    questions = collect_questions(run.config, run.artifacts["questions"])
    outcomes = Outcomes(questions).with_trial(collect_untrained("f", run.artifacts, questions))
    for seed, also in enumerate([{"sums": (1, 2)}, {"sums": (2, 2), "odd-one": (1, 2)}]):
        outcomes = outcomes.with_trial(TrialOutcome("uniform", seed, "f", "1", also=also))
    changes = {"comparison.num_seeds": 2, "comparison.arms": ["uniform"]}
    some = assemble_results(run.config.override(changes), outcomes)
    assert some.arms[1].also == {"sums": ((1, 2), (2, 2))}
    assert further_set_table(some)[0] == ["Arm", "sums (2 to 40)"]
    assert len({tuple(row) for row in comparison_rows(some)}) == 1
