"""The outcomes of trials, read from artifacts that are written by hand, and the results made of them."""

import dataclasses
import json

import pytest

from kpod_ray.data.examples import Example
from kpod_ray.records import Prediction, StageRow
from kpod_ray.report.comparison.assemble import assemble_results
from kpod_ray.report.comparison.collect import (
    collect_questions,
    collect_trial,
    collect_untrained,
    final_validation_accuracy,
)
from kpod_ray.report.comparison.figures import comparison_figures
from kpod_ray.report.comparison.markdown import comparison_markdown
from kpod_ray.report.comparison.outcomes import Outcomes
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.step_groups import step_groups
from tests.pipeline.written_runs import QUESTIONS, TEXTS, finish, written_run

STEP = {"loss_tokens": 5, "rationale_loss": 1.0, "answer_loss": 1.0}
TESTED = [dataclasses.replace(question, split="test") for question in QUESTIONS[:3]]


@pytest.fixture
def made(tmp_path):
    """A run with a validation accuracy after the second of its two stages."""
    made = written_run(tmp_path, [*TESTED, *QUESTIONS[3:]], TEXTS)
    # Generated and gold steps: 1 of 3; 1 of 2, cut off at the token limit; without a gold rationale.
    steps = {"n": ("stop", 1, 3), "d": ("length", 1, 2), "c": ("stop", 4, None)}
    rows = [Prediction(q.id, "", steps[q.id][0], 1, "", "", True, *steps[q.id][1:]) for q in TESTED]
    before = [dataclasses.replace(row, is_correct=row.question_id == "d") for row in rows]
    finish(made, "evaluate_before", {"versions": {}}, predictions=Prediction.to_table(before))
    finish(made, "evaluate", {"counts": {}}, predictions=Prediction.to_table(rows[::-1]))
    # Two examples of 3 + 4 and 2 + 1 tokens.
    examples = [
        Example("n", [1] * 3, [1] * 4, [1.0] * 4, [0] * 4, [False] * 4, [False] * 4, 1),
        Example("d", [1] * 2, [1], [1.0], [1], [False], [False], 1),
    ]
    finish(made, "assess", {"counts": {}, "seconds": 3.0}, examples=Example.to_table(examples))
    schedule = StageRow.to_table(StageRow("n", stage, 0) for stage in (1, 2))
    finish(made, "plan", {"counts": {}, "seconds": 0.5}, schedule=schedule)
    folder = made.artifacts["train"].folder
    stages = [(1, {}), (2, {}), (2, {"validation_accuracy": 0.0})]
    history = [{**STEP, "stage": stage, **further} for stage, further in stages]
    plan = made.artifacts["plan"].folder
    decisions = {str(stage): {"plan": plan, "plan_stage": stage} for stage in (1, 2)}
    made.store.write_text(f"{folder}/history.json", json.dumps(history))
    made.store.write_text(f"{folder}/decisions.json", json.dumps(decisions))
    nodes = [{"id": "a", "labels": {"group": "student"}}, {"id": "b", "labels": {}}]
    counts = {"loss_tokens": 15, "tokens": 20, "train_steps": 3}
    config = {"config": made.config.model_dump()}
    finish(
        made,
        "train",
        {"counts": counts, "nodes": nodes, "seconds": 7.0, "keypoint_share": 0.5, **config},
    )
    return made


@pytest.fixture
def trial(made):
    questions = collect_questions(made.config, made.artifacts["questions"])
    return collect_trial(("uniform", 0, "f"), made.config, made.artifacts, questions)


@pytest.fixture
def comparison(made, trial):
    changes = {"comparison.num_seeds": 1, "comparison.arms": ["uniform"]}
    outcomes = Outcomes(collect_questions(made.config, made.artifacts["questions"]))
    untrained = collect_untrained("f", made.artifacts, outcomes.questions)
    outcomes = outcomes.with_trial(untrained).with_trial(trial)
    return assemble_results(made.config.override(changes), outcomes)


def test_answers_are_in_the_order_of_the_questions(comparison):
    untrained, uniform = comparison.arms
    assert untrained.correct.tolist() == [[False, True, False]]
    assert uniform.correct.tolist() == [[True, True, True]]
    assert comparison.num_questions == 3


def test_stops_are_counted_where_there_is_a_gold_rationale(trial, comparison):
    assert (trial.extra_steps, trial.early_stops) == ((-2, -1, None), "10-")
    for arm in comparison.arms:
        assert (arm.generated_minus_gold, arm.early_stops) == ((-1.5,), (0.5,))
    assert [arm.keypoint_share for arm in comparison.arms] == [(), (0.5,)]


def test_only_the_questions_that_are_answered_count(made):
    config = made.config.override({"evaluation.limit": 2})
    assert collect_questions(config, made.artifacts["questions"]).ids == ("n", "d")


def test_the_closing_of_a_reference_rationale_is_no_step(tmp_path):
    texts = ("3 + 1 = 4.\n4 + 3 = 7. The answer is 7.", "", "The answer is 7.")
    questions = [
        dataclasses.replace(
            one, reference_rationale=text, question="One egg. Two eggs. Three eggs."
        )
        for one, text in zip(TESTED, texts, strict=True)
    ]
    made = written_run(tmp_path, [*questions, *QUESTIONS[3:]], TEXTS)
    # Two steps before the closing; without a step in the rationale, the sentences of the question.
    assert collect_questions(made.config, made.artifacts["questions"]).num_steps == (2, 3, 3)


def test_measured_validation_accuracies_are_in_the_curves(comparison):
    (curve,) = comparison.baseline_arm.curves
    assert [point.accuracy for point in curve] == [None, 0.0]
    assert [point.share for point in curve] == pytest.approx([1 / 3, 1], abs=1e-6)
    figures = comparison_figures(comparison, findings(comparison), step_groups(comparison))
    titles = [figures["curves"].layout[name].title.text for name in ("yaxis2", "yaxis3")]
    assert titles == ["given steps, mean", "validation accuracy"]


def test_the_nodes_are_those_that_trained(comparison):
    assert comparison.nodes == "2 nodes (group=student)"
    assert "trained on 2 nodes" in comparison_markdown(comparison)


def test_equal_answers_have_an_effect_that_could_be_seen(comparison):
    assert "difference of 0.0 points" not in comparison_markdown(comparison)


def weigh_again(made, *last_train_steps):
    """Finish the phase with weighters that were validated at train step 1 and at their last one."""
    rows = [
        {"weighter": index, "train_step": train_step}
        for index, last in enumerate(last_train_steps)
        for train_step in (1, last)
    ]
    weigh = made.artifacts["weigh"]
    made.store.write_text(f"{weigh.folder}/history.json", json.dumps(rows))
    finish(made, "weigh", {"counts": {}})


def test_the_total_cost_is_counted_by_hand(made):
    # Ten tokens in two examples. The weighter reads (2 + 3) x 4 examples of 5 tokens, and all once.
    weigh_again(made, 3)
    weighting = {"num_adapt_steps": 2, "num_train_steps": 3, "global_batch_size": 4, "num_seeds": 1}
    changes = {f"weighting.{name}": value for name, value in weighting.items()}
    questions = collect_questions(made.config, made.artifacts["questions"])

    def cost(**further):
        config = made.config.override(
            {**changes, **{k.replace("__", "."): v for k, v in further.items()}}
        )
        one = collect_trial(("kpod", 0, "f"), config, made.artifacts, questions)
        return one.cost_tokens, one.cost_seconds

    uniform = {"student__token_weights": "uniform", "schedule__order": "none"}
    assert cost(**uniform) == (20, 7.0)
    assert cost(schedule__order="none") == (20 + 100 + 10, 7.0)  # the weigher took 0 seconds
    assert cost() == (20 + 100 + 10 + 10, 7.0 + 3.0 + 0.5)
    weigh_again(made, 3, 3, 3)
    assert cost(weighting__num_seeds=3) == (20 + 3 * (100 + 10) + 10, 10.5)
    weigh_again(made, 3, 2, 1)  # two weighters stopped early, after 2 + 2 and 2 + 1 train steps
    assert cost(weighting__num_seeds=3) == (20 + (5 + 4 + 3) * 20 + 3 * 10 + 10, 10.5)
    assert cost(weighting={"kind": "hand"}) == (30, 10.5)
    by_difficulty = {"schedule__difficulty_weights": "uniform", "student__token_weights": "uniform"}
    assert cost(**by_difficulty) == (30, 10.5)
    assert cost(student__target="answer", schedule__order="none") == (20, 7.0)


def test_the_validation_accuracy_is_that_of_the_exported_student(made, tmp_path):
    assert final_validation_accuracy(made.artifacts["train"]) == 0.0
