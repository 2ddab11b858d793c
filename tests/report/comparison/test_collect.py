"""The results of a comparison, read from artifacts that are written by hand."""

import json

import pytest

from kpod_ray.records import Prediction, StageRow
from kpod_ray.report.comparison.collect import collect_comparison
from kpod_ray.report.comparison.figures import comparison_figures
from kpod_ray.report.comparison.page import comparison_markdown
from kpod_ray.report.comparison.statistics import findings, step_groups
from tests.pipeline.written_runs import QUESTIONS, finish, written_run

STEP = {"loss_tokens": 5, "rationale_loss": 1.0, "answer_loss": 1.0}


@pytest.fixture
def comparison(tmp_path):
    """An arm with a validation accuracy after the second of its two stages."""
    made = written_run(tmp_path)
    rows = [Prediction(q.id, "", "stop", 1, "", "", True) for q in QUESTIONS[:3]]
    predictions = Prediction.to_table(rows)
    for name in ("evaluate_before", "evaluate"):
        steps = {"generated_minus_gold": -0.5, "early_stops": None}
        finish(made, name, {"counts": {}, "steps": steps}, predictions=predictions)
    finish(made, "assess", {"counts": {}, "versions": {}})
    schedule = StageRow.to_table(StageRow("n", stage, 0) for stage in (1, 2))
    finish(made, "plan", {"counts": {}}, schedule=schedule)
    folder = made.artifacts["train"].folder
    stages = [(1, {}), (2, {}), (2, {"validation_accuracy": 0.0})]
    history = [{**STEP, "stage": stage, **further} for stage, further in stages]
    plan = made.artifacts["plan"].folder
    decisions = {str(stage): {"plan": plan, "plan_stage": stage} for stage in (1, 2)}
    made.store.write_text(f"{folder}/history.json", json.dumps(history))
    made.store.write_text(f"{folder}/decisions.json", json.dumps(decisions))
    nodes = [{"id": "a", "labels": {"group": "student"}}, {"id": "b", "labels": {}}]
    counts = {"loss_tokens": 15, "tokens": 20, "train_steps": 3}
    finish(made, "train", {"counts": counts, "nodes": nodes, "keypoint_share": 0.5})
    config = made.config.override({"comparison.num_seeds": 1})
    baseline = config.comparison.baseline
    return collect_comparison(config, made.artifacts, {baseline: [made.artifacts]})


def test_measured_validation_accuracies_are_in_the_curves(comparison):
    (curve,) = comparison.baseline_arm.curves
    assert [point.accuracy for point in curve] == [None, 0.0]
    figures = comparison_figures(comparison, findings(comparison), step_groups(comparison))
    titles = [figures["curves"].layout[name].title.text for name in ("yaxis2", "yaxis3")]
    assert titles == ["given steps, mean", "correct validation answers"]


def test_step_statistics_and_keypoint_share_are_those_of_the_manifests(comparison):
    for arm in comparison.arms:
        assert (arm.generated_minus_gold, arm.early_stops) == ((-0.5,), ())
    assert [arm.keypoint_share for arm in comparison.arms] == [(), (0.5,)]


def test_the_nodes_are_those_that_trained(comparison):
    assert comparison.nodes == "2 nodes (group=student)"
    assert "trained on 2 nodes" in comparison_markdown(comparison)


def test_equal_answers_have_an_effect_that_could_be_seen(comparison):
    assert "difference of 0.0 points" not in comparison_markdown(comparison)
