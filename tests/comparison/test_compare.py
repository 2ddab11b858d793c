"""A comparison of tiny students, end to end: one corpus, arms apart, resumed, token budgets."""

import json
import shutil

import pyarrow.compute as pc
import pytest

from kpod_ray.comparison.compare import compare
from kpod_ray.config import ARMS
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.export import FORMATS, export_corpus
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.pipeline.naming import open_run
from kpod_ray.report.comparison.markdown import comparison_markdown
from kpod_ray.report.run.collect import collect
from kpod_ray.report.run.page import render
from kpod_ray.tracking.phase_summaries import phase_summary
from tests.comparison.comparisons import ARM_NAMES, Ears, config_of


@pytest.fixture(scope="module")
def first(ray_cluster, tmp_path_factory):
    storage, ears = tmp_path_factory.mktemp("compare"), Ears()
    results = compare(config_of(storage), ears.callbacks, [str(storage / "outcomes.jsonl")])
    ears.manifests = sorted(storage.glob("*/*/manifest.json"))  # another test makes more of them
    return storage, ears, results


@pytest.mark.slow
def test_the_corpus_is_made_once_and_every_arm_once(first):
    storage, ears, results = first
    shared = ["questions", "teacher", "weigh", "assess", "evaluate_before"]
    assert ears.made[: len(shared)] == shared
    # The plan of two arms is the same; the weights and difficulties of one are its own.
    assert ears.made[len(shared) :] == ["plan", "weigh", "assess", "plan", "plan"]
    assert len(list((storage / "questions").iterdir())) == 1
    assert len(list((storage / "assess").iterdir())) == 2
    assert sorted(ears.trials) == sorted(ARM_NAMES)
    assert [arm.name for arm in results.arms] == ["untrained", *ARM_NAMES]
    assert all(arm.correct.shape == (1, 4) for arm in results.arms)


def run_of(storage, arm):
    """The first trial of an arm."""
    config = config_of(storage).override({**ARMS[arm].overrides, "student.seed": 0})
    return open_run(config)


@pytest.mark.slow
def test_an_arm_is_trained_with_weights_of_its_own(first):
    storage, _, _ = first
    for arm, weights, means in (("uniform", {1.0}, (1, 1)), ("hand_weights", {0.3, 1.0}, (0.3, 1))):
        run = run_of(storage, arm)
        written = pc.list_flatten(run.artifacts["weigh"].read("weighted")["token_weights"])
        assert {round(weight, 6) for weight in written.to_pylist()} == weights
        train = run.artifacts["train"]
        history = json.loads(train.store.read_text(f"{train.folder}/history.json"))
        assert all(means[0] <= row["token_weight_mean"] <= means[1] for row in history)
        assert len({row["token_weight_mean"] for row in history}) == (1 if arm == "uniform" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["uniform", "hand_weights"])
def test_report_tracking_export_and_card_need_no_learned_weighter(first, arm, tmp_path):
    run = run_of(first[0], arm)
    page = render(collect(run.config, run.artifacts))
    assert "All token weights" in page
    assert "Validation loss, and the share of tokens" not in page
    mean = phase_summary("weigh", run.artifacts).outcome["outcome/mean_token_weight"]
    assert mean == 1 if arm == "uniform" else 0.3 < mean < 1
    share = phase_summary("train", run.artifacts).outcome["outcome/keypoint_share"]
    assert 0 < share < 1
    for name in FORMATS:
        out = str(tmp_path / f"{name}.jsonl")
        assert (
            export_corpus(
                FinishedRun("c", run.store, run.folder, run.config, run.artifacts), out, name
            )
            == 8
        )
    card = (first[0] / run.artifacts["train"].folder / "student" / "README.md").read_text()
    assert f"| token weights | {'uniform' if arm == 'uniform' else 'hand'} |" in card


@pytest.mark.slow
def test_all_arms_get_the_same_train_steps(first):
    _, _, results = first
    assert {arm.train_steps for arm in results.arms[1:]} == {(4,)}
    tokens = {arm.name: arm.supervised_tokens[0] for arm in results.arms[1:]}
    assert tokens["answer_only"] < tokens["kpod_adaptive"] < tokens["uniform"]
    assert tokens["hand_weights"] == tokens["uniform"]


@pytest.mark.slow
def test_a_second_call_makes_nothing_and_says_the_same(first):
    storage, _, results = first
    ears = Ears()
    again = compare(config_of(storage), ears.callbacks)
    assert ears.made == []
    assert sorted(ears.trials) == sorted(ARM_NAMES)
    pairs = zip(results.arms, again.arms, strict=True)
    assert all((a.correct == b.correct).all() and a.curves == b.curves for a, b in pairs)


@pytest.mark.slow
def test_a_fresh_machine_goes_on_from_the_outcomes(first, tmp_path):
    storage, _, results = first
    file = tmp_path / "outcomes.jsonl"
    shutil.copy(storage / "outcomes.jsonl", file)
    ears = Ears()
    again = compare(config_of(tmp_path / "fresh"), ears.callbacks, [str(file)])
    assert (ears.made, ears.counts) == ([], [(n, 4) for n in (1, 2, 3, 4)])
    assert not list((tmp_path / "fresh").glob("*/*/manifest.json"))
    assert comparison_markdown(again) == comparison_markdown(results)
    assert file.read_text() == (storage / "outcomes.jsonl").read_text()


@pytest.mark.slow
def test_outcomes_of_other_settings_are_refused_before_anything_starts(first, tmp_path):
    file = str(first[0] / "outcomes.jsonl")
    config = config_of(tmp_path).override({"student.warmup": 0.5})
    with pytest.raises(KpodError, match=r"^outcomes .*: arm \w+ has outcomes of other settings"):
        compare(config, Ears().callbacks, [file])
    assert not list(tmp_path.glob("*/*/manifest.json"))


@pytest.mark.slow
def test_what_was_deleted_is_made_again_and_nothing_else(first):
    storage, ears, results = first
    before = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    deleted = {
        next(path for path in ears.manifests if path.parts[-3] == phase)
        for phase in ("weigh", "assess", "train")
    }
    for path in deleted:
        shutil.rmtree(path.parent)
    again = compare(config_of(storage), Ears().callbacks)
    after = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    assert {path for path, when in after.items() if before.get(path) != when} == deleted
    pairs = zip(results.arms, again.arms, strict=True)
    assert all((a.correct == b.correct).all() and a.curves == b.curves for a, b in pairs)


@pytest.mark.slow
def test_a_token_budget_is_spent_by_every_arm(first):
    storage, _, results = first
    config = config_of(storage, budget="loss_tokens", arms=("uniform", "answer_only"))
    spent = compare(config, Ears().callbacks)
    budget = results.baseline_arm.supervised_tokens[0]
    uniform, answer_only = spent.arms[1:]
    assert uniform.supervised_tokens == (budget,)
    largest_step = 4 * 40  # four answers of at most so many tokens
    assert budget <= answer_only.supervised_tokens[0] < budget + largest_step
    assert answer_only.train_steps[0] > uniform.train_steps[0]
