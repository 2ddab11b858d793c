"""The results of a run, read from artifacts that are written by hand."""

import json

import pytest

from kpod_ray.records import Prediction, Rationale, StageRow, StepDifficulty
from kpod_ray.report.run import tables
from kpod_ray.report.run.accuracy_rows import gold_step_rows
from kpod_ray.report.run.collect import collect
from kpod_ray.report.run.data import MAX_PREDICTIONS, MissingSteps
from kpod_ray.report.run.page import render
from tests.evaluation.test_further import SOURCES
from tests.pipeline.further_sets import finish_further_sets
from tests.pipeline.written_runs import QUESTIONS, finish, rationale, written_run

NUM_TESTED = MAX_PREDICTIONS + 40
STEP = {"train_step": 1, "stage": 1, "loss": 1.0, "rationale_loss": 1.0, "answer_loss": 1.0}


def predictions(is_correct):
    return Prediction.to_table(
        Prediction(f"test-{i}", "", "stop", 1, "", "", is_correct(i)) for i in range(NUM_TESTED)
    )


@pytest.fixture
def run(tmp_path):
    """A finished run: 240 test questions, of which the student gains 30 and loses 10."""
    return finished(written_run(tmp_path))


def finished(made):
    ids = [question.id for question in QUESTIONS]
    difficulties = StepDifficulty.to_table(StepDifficulty(i, [1.0], [1.0]) for i in ids)
    finish(made, "assess", {"counts": {}}, difficulties=difficulties)
    schedule = StageRow.to_table(StageRow(i, stage, 0) for stage in (0, 1) for i in ids)
    plan = made.artifacts["plan"]
    made.store.write_text(
        f"{plan.folder}/totals.json", json.dumps({"ceilings": [0], "planned": [0]})
    )
    finish(made, "plan", {"counts": {}}, schedule=schedule)
    train, weigh = made.artifacts["train"], made.artifacts["weigh"]
    history = [{**STEP, "token_weight_mean": 0.5, "keypoint_share": 0.25}]
    made.store.write_text(f"{train.folder}/history.json", json.dumps(history))
    made.store.write_text(f"{weigh.folder}/history.json", "[]")
    losses = {"missing_0_loss": 0.5, "missing_0_gain": 3.0, "missing_1_loss": 4.0}
    losses |= {"missing_1_gain": -0.5, "missing_2_loss": None, "missing_2_gain": None}
    finish(made, "weigh", {"counts": {}, "quality": {"auc": 0.9, **losses}})
    finish(made, "train", {"counts": {}, "warning": "a checkpoint is <damaged>"})
    before, after = predictions(lambda i: i < 100), predictions(lambda i: 10 <= i < 130)
    for name, table, correct in (("evaluate_before", before, 100), ("evaluate", after, 120)):
        counts = {"questions": NUM_TESTED, "correct": correct}
        accuracy = {"value": correct / NUM_TESTED, "low": 0.0, "high": 1.0}
        steps = {
            "num_compared": 9,
            "generated_minus_gold": -1.5,
            "early_stops": 0.5,
            "by_gold_steps": [[2, 9, 3]],
        }
        manifest = {"counts": counts, "accuracy": accuracy, "steps": steps, "versions": {}}
        finish(made, name, manifest, predictions=table)
    return made


def test_the_rationale_of_a_copy_has_its_question(run):
    results = collect(run.config, run.artifacts)
    shown = tables.shown_rationales(results)
    assert len(shown) == len(QUESTIONS)
    assert [row.question.splitlines()[0] for row in shown] == [q.question for q in QUESTIONS]


def test_the_predictors_losses_by_missing_steps_are_shown(run, parse_page):
    results = collect(run.config, run.artifacts)
    assert results.missing_steps == (MissingSteps(0, 0.5, 3.0), MissingSteps(1, 4.0, -0.5))
    text = " ".join(parse_page(render(results)).sections["loss"].split())
    assert "none0.503.00 14.00\u22120.50" in text


def test_the_question_of_a_reject_is_found_in_phase_questions(run):
    reject = rationale(QUESTIONS[0], "It is 8.")
    teacher = run.artifacts["teacher"]
    others = teacher.read("questions").slice(0, 1)
    manifest = teacher.manifest()
    finish(run, "teacher", manifest, questions=others, rejects=Rationale.to_table([reject]))
    results = collect(run.config, run.artifacts)
    assert tables.question_text(results, "n") == "3 + 4?"


def test_predictions_are_tallied_over_all_and_the_first_are_shown(run):
    results = collect(run.config, run.artifacts)
    assert len(results.predictions) == MAX_PREDICTIONS
    assert list(tables.prediction_counts(results).values()) == [90, 30, 10, 110]
    test = results.accuracies[1].against_first
    assert (test.discordance.num_better, test.discordance.num_worse) == (30, 10)
    assert test.num_questions == NUM_TESTED
    assert results.accuracies[0].against_first is None
    page = render(results)
    assert "The first 200 of 240 are shown." in page
    assert "Of all 240 questions that both models answered" in page
    assert "better (McNemar&#39;s p" in page


def test_step_statistics_are_those_of_the_manifest(run):
    results = collect(run.config, run.artifacts)
    steps = results.accuracies[1].steps
    assert (steps.num_compared, steps.generated_minus_gold, steps.early_stops) == (9, -1.5, 0.5)
    texts = ["33.3\u00a0% (12.1\u00a0to\u00a064.6)"] * 2  # Wilson's interval of 3 in 9
    assert gold_step_rows(results) == [["2", "9", *texts]]
    assert results.train_history[0].keypoint_share == 0.25
    page = render(results)
    assert "\u22121.50" in page
    assert "Accuracy by number of gold steps" in page


def test_warnings_of_phases_are_in_the_report(run):
    results = collect(run.config, run.artifacts)
    assert results.warnings == {"train": "a checkpoint is <damaged>"}
    assert "train: a checkpoint is &lt;damaged&gt;" in render(results)


def test_further_sets_have_a_table_of_their_own(tmp_path, run, parse_page):
    assert collect(run.config, run.artifacts).further_sets == ()
    assert "Further test sets" not in render(collect(run.config, run.artifacts))
    made = finished(written_run(tmp_path, evaluation={"also": SOURCES}))
    finish_further_sets(made)
    results = collect(made.config, made.artifacts)
    assert results.accuracies == collect(run.config, run.artifacts).accuracies
    sums = results.further_sets[0]
    assert (sums.name, sums.num_left_out) == ("sums", 3)
    assert (sums.before.num_correct, sums.after.num_correct) == (10, 36)
    cells = parse_page(render(results)).cells("sums")
    assert cells[0].startswith("sumsbetter (McNemar's p <")
    assert cells[1:5] == ["40", "3", "25.0 %", "90.0 %45.0 % to 95.0 %"]
    assert cells[5].startswith("+65.0+")
    text = " ".join(parse_page(render(results)).sections["accuracy"].split())
    assert "Further test sets" in text
