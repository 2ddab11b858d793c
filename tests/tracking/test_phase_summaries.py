"""What a tracker is told: numbers worked out by hand, bounded tables, and harmless markup."""

import json
import re

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from kpod_ray.config import OBJECTIVES, load
from kpod_ray.evaluation.paired import compare_models
from kpod_ray.records import (
    Prediction,
    Question,
    Rationale,
    StageRow,
    StepDifficulty,
    WeightedRationale,
)
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.tracking import tables
from kpod_ray.tracking.phase_summaries import phase_summary
from kpod_ray.tracking.prometheus import TRAINING
from kpod_ray.tracking.tables import MAX_RATIONALES, MAX_ROWS, weighted_html
from kpod_ray.tracking.wandb_workspace import build_workspace
from kpod_ray.training.metrics import NUM_SUMS, step_metrics
from tests.conftest import REPOSITORY
from tests.evaluation.test_further import SOURCES
from tests.pipeline.further_sets import finish_further_sets
from tests.pipeline.written_runs import written_run
from tests.report.attacks import HOSTILE, PAYLOAD
from tests.report.pages import Page

NAMES = (
    *("questions", "teacher", "weigh", "assess", "plan", "train"),
    *("evaluate_before", "evaluate"),
)
MANY = 300
STORED = HOSTILE.replace("\ud800", "")
"""What a table can hold of it."""
QUESTIONS = [
    Question(f"q{i}", f"What is {i} + 1?", str(i + 1), "number", (), "train", "")
    for i in range(MANY)
]


def rationale(i, verdict, text="One and 1 is 2."):
    return Rationale(f"q{i}/0", f"q{i}", 0, text, "t", "stop", 8, "2", verdict)


def weighted(i, weights=(0.1, 0.6, 0.9)):
    text = "1 + 2"
    return WeightedRationale(f"q{i}", text, (0, 2, 4), (1, 3, 5), weights, (0,), (5,))


def prediction(i, answer):
    is_correct = answer == str(i + 1)
    return Prediction(f"q{i}", f"It is {answer}.", "stop", 4, answer, str(i + 1), is_correct)


def finish(artifact, **manifest):
    artifact.finish({"counts": {}, "seconds": 2.5, **manifest})


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Every artifact of a run, with more rows than are told of."""
    store = Store.open(str(tmp_path_factory.mktemp("store")))
    made = {
        name: Artifact.of(store, name.removesuffix("_before"), 1, {name: 1}, []) for name in NAMES
    }
    made["questions"].write("questions", Question.to_table(QUESTIONS))
    finish(made["questions"], counts={"train": MANY, "test": 4})
    rejects = [rationale(i, "wrong") for i in range(MANY)] + [rationale(0, "error", STORED)]
    made["teacher"].write("rejects", Rationale.to_table(rejects))
    made["teacher"].write("questions", Question.to_table(QUESTIONS))
    verdicts = {"kept": 99, "wrong": MANY, "error": 1}
    finish(made["teacher"], counts={"samples": 400, "tokens": 7}, verdicts=verdicts)
    made["weigh"].write("weighted", WeightedRationale.to_table(weighted(i) for i in range(MANY)))
    finish(made["weigh"], quality={"auc": 0.75, "keypoint_weight": None})
    difficulties = [StepDifficulty("q0", [0.5, 4.0], [1, 1]), StepDifficulty("q1", [1.0], [1])]
    made["assess"].write("difficulties", StepDifficulty.to_table(difficulties))
    finish(made["assess"])
    given = {(0, "q0"): 2, (0, "q1"): 1, (1, "q0"): 1, (1, "q1"): 1, (2, "q0"): 0, (2, "q1"): 0}
    rows = [StageRow(name, stage, steps) for (stage, name), steps in given.items()]
    made["plan"].write("schedule", StageRow.to_table(rows))
    totals = {"ceilings": [1.0, 2.0, 3.0], "planned": [0.5, 1.5, 3.0]}
    store.write_text(f"{made['plan'].folder}/totals.json", json.dumps(totals))
    finish(made["plan"])
    step = {"loss": 2.0, "train_step": 1, "stage": 1}
    told = {"validation_loss": 1.25, "validation_token_accuracy": 0.5}
    history = [step, {**step, "train_step": 2, **told}, {**step, "train_step": 3, "stage": 2}]
    history.append({**history[-1], **told, "train_step": 4, "validation_loss": 0.75})
    store.write_text(f"{made['train'].folder}/history.json", json.dumps(history))
    finish(made["train"], counts={"train_steps": 4}, keypoint_share=0.5)
    before = [prediction(i, "1") for i in range(MANY)]
    after = [prediction(i, str(i + 1)) for i in range(MANY)]
    for name, predictions, share in (("evaluate_before", before, 0.25), ("evaluate", after, 1.0)):
        made[name].write("predictions", Prediction.to_table(predictions))
        steps = {"num_compared": 4, "generated_minus_gold": -0.5, "early_stops": share}
        steps["by_gold_steps"] = [[2, 3, 0], [3, 1, 1]]
        finish(made[name], accuracy={"value": share, "low": 0.0, "high": 1.0}, steps=steps)
    return made


def test_every_phase_tells_its_numbers_and_where_it_is(artifacts):
    for name in NAMES:
        summary = phase_summary(name, artifacts)
        assert summary.numbers[f"phase/{name}/seconds"] == 2.5
        folder = artifacts[name].store.address(artifacts[name].folder)
        assert summary.artifact == (name.removesuffix("_before"), folder)
    assert phase_summary("questions", artifacts).numbers["phase/questions/train"] == MANY
    assert phase_summary("weigh", artifacts).numbers["phase/weigh/auc"] == 0.75
    assert "phase/weigh/keypoint_weight" not in phase_summary("weigh", artifacts).numbers


def test_rejects_are_counted_and_some_of_each_reason_are_shown(artifacts):
    summary = phase_summary("teacher", artifacts)
    assert summary.numbers["phase/teacher/wrong"] == MANY
    assert summary.outcome == {"outcome/kept_samples_fraction": pytest.approx(99 / 400)}
    verdicts = summary.tables["tables/verdicts"]
    assert [row["verdict"] for row in verdicts] == ["wrong", "kept", "error"]
    assert sum(row["share"] for row in verdicts) == pytest.approx(1)
    shown = summary.tables["tables/rejects"]
    assert len(shown) <= MAX_ROWS
    assert [row["verdict"] for row in shown].count("error") == 1
    assert next(row for row in shown if row["verdict"] == "wrong")["gold"] == "1"
    assert "\x1b" not in str(shown)
    json.dumps(shown).encode("utf-8")


def test_token_weights_become_a_histogram_a_curve_and_a_share(artifacts):
    summary = phase_summary("weigh", artifacts)
    histogram = summary.histograms["histograms/token_weights"]
    weights = np.tile(np.array([0.1, 0.6, 0.9], np.float32).astype(np.float64), MANY)
    assert list(histogram.counts) == np.histogram(weights, bins=histogram.edges)[0].tolist()
    assert summary.outcome["outcome/mean_token_weight"] == pytest.approx((0.1 + 0.6 + 0.9) / 3)
    # Of the tokens 1, + and 2 all are keypoints.
    assert summary.tables["tables/rationales"][0]["keypoint_share"] == 1
    assert sum(row["token_weight/share"] for row in summary.curves) == pytest.approx(1)
    assert summary.curves[0]["token_weight/weight"] == pytest.approx(0.025)
    assert len(summary.tables["tables/rationales"]) == MAX_RATIONALES


def test_step_difficulties_become_a_histogram(artifacts):
    histogram = phase_summary("assess", artifacts).histograms["histograms/step_difficulties"]
    assert (histogram.edges[0], histogram.edges[-1]) == (0, 4.0)
    assert {i: n for i, n in enumerate(histogram.counts) if n} == {2: 1, 5: 1, 19: 1}


def test_the_plan_is_told_stage_by_stage(artifacts):
    summary = phase_summary("plan", artifacts)
    assert summary.tables["tables/given_steps"] == [
        {"stage": 0, "given_steps": 1, "questions": 1},
        {"stage": 0, "given_steps": 2, "questions": 1},
        {"stage": 1, "given_steps": 1, "questions": 2},
        {"stage": 2, "given_steps": 0, "questions": 2},
    ]
    assert [point["schedule/given_steps_mean"] for point in summary.curves] == [1.5, 1, 0]
    assert summary.curves[1] == {
        "schedule/stage": 1,
        "schedule/questions": 2,
        "schedule/given_steps_mean": 1,
        "schedule/ceiling": 2.0,
        "schedule/planned": 1.5,
    }


def test_the_last_validation_is_the_outcome_of_a_training(artifacts):
    summary = phase_summary("train", artifacts)
    expected = {"outcome/validation_loss": 0.75, "outcome/validation_token_accuracy": 0.5}
    expected["outcome/keypoint_share"] = 0.5
    assert summary.outcome == expected
    assert [row["validation_loss"] for row in summary.tables["tables/stages"]] == [1.25, 0.75]


def test_accuracies_before_and_after_are_one_outcome(artifacts):
    assert phase_summary("evaluate_before", artifacts).outcome == {"outcome/accuracy_before": 0.25}
    summary = phase_summary("evaluate", artifacts)
    test = compare_models(artifacts["evaluate_before"], artifacts["evaluate"])
    assert test.discordance.p_value < 0.001
    assert summary.outcome == {
        "outcome/accuracy": 1.0,
        "outcome/accuracy_before": 0.25,
        "outcome/accuracy_gain": 0.75,
        "outcome/accuracy_gain_low": test.difference.low,
        "outcome/accuracy_gain_high": test.difference.high,
        "outcome/accuracy_gain_p": test.discordance.p_value,
        "outcome/generated_minus_gold": -0.5,
        "outcome/early_stops": 1.0,
    }
    assert summary.numbers["phase/evaluate/early_stops"] == 1.0
    before = phase_summary("evaluate_before", artifacts)
    assert before.numbers["phase/evaluate_before/early_stops"] == 0.25
    assert summary.tables["tables/accuracy_by_steps"] == [
        {"gold_steps": 2, "questions": 3, "accuracy": 0},
        {"gold_steps": 3, "questions": 1, "accuracy": 1},
    ]
    rows = summary.tables["tables/predictions"]
    assert len(rows) == MAX_ROWS
    changes = [row["change"] for row in rows[:2]]
    assert changes == ["right before and after", "gained"]
    assert (rows[1]["before_answer"], rows[1]["after_answer"]) == ("1", "2")
    assert rows[1]["question"] == "What is 1 + 1?"


def test_further_sets_have_a_row_and_outcomes_each(tmp_path):
    run = written_run(tmp_path, evaluation={"also": SOURCES})
    finish_further_sets(run)
    summary = phase_summary("evaluate_also", run.artifacts)
    rows = summary.tables["tables/further_sets"]
    assert [(row["set"], row["questions"], row["left_out"]) for row in rows] == [
        ("sums", 40, 3),
        ("odd-one", 2, 0),
    ]
    assert len({tuple(row) for row in rows}) == 1
    sums = {key: value for key, value in summary.outcome.items() if "/sums/" in key}
    assert sums == {
        "outcome/sums/accuracy": 0.9,
        "outcome/sums/accuracy_low": 0.45,
        "outcome/sums/accuracy_high": 0.95,
        "outcome/sums/accuracy_before": 0.25,
        "outcome/sums/accuracy_gain": pytest.approx(0.65),
        "outcome/sums/accuracy_gain_p": rows[0]["accuracy_gain_p"],
    }
    # Of 34 questions that only one of the two answers, 4 speak against the distilled student.
    assert rows[0]["accuracy_gain_p"] == pytest.approx(binomtest(4, 34).pvalue)
    assert summary.numbers["phase/evaluate_also/correct"] == 37
    assert phase_summary("evaluate_also_before", run.artifacts).outcome == {}
    assert phase_summary("questions_also", run.artifacts).artifact[0] == "questions"


def test_what_the_workspace_draws_is_logged_or_in_the_summary_of_a_phase(artifacts):
    """A name that is changed in one of the two places would leave an empty panel."""
    workspace = build_workspace(load(REPOSITORY / "configs" / "smoke.yaml"), "team")
    view = workspace._to_model().model_dump_json(by_alias=True, exclude_none=True)
    prefixes = ("outcome", "phase", "schedule", "step_difficulty", "tables", "token_weight")
    drawn = set(re.findall(rf"\b(?:{'|'.join((*prefixes, 'train'))})/[a-z_/]+", view))
    of_train_steps = {*step_metrics(torch.zeros(NUM_SUMS), 1), *OBJECTIVES, *TRAINING}
    told = {f"train/{name}" for name in of_train_steps}
    for summary in (phase_summary(name, artifacts) for name in NAMES):
        told |= {*summary.numbers, *summary.outcome, *summary.tables}
        told |= {name for row in summary.curves for name in row}
    assert {name.partition("/")[0] for name in drawn} == {*prefixes, "train"}
    assert drawn <= told


def test_hostile_text_becomes_no_markup(artifacts):
    ends = (len(HOSTILE),)
    row = WeightedRationale("q0", HOSTILE, (0,), ends, (0.5,), (0,), ends)
    page = Page(f"<section id=x>{weighted_html(row)}</section>")
    assert set(page.tags) == {"section", "meta", "ol", "li", "span"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "href"]
    assert PAYLOAD in page.sections["x"]
    weighted_html(row).encode("utf-8")


def test_a_rationale_without_end_is_cut_off():
    num = tables.MAX_TOKENS + 10
    starts, text = range(num), "a" * num
    ends = [start + 1 for start in starts]
    row = WeightedRationale("q0", text, starts, ends, [0.5] * num, (0,), (num,))
    assert weighted_html(row).count("<span") == tables.MAX_TOKENS
