"""Which arms and settings a comparison may have, and how others are refused before it starts."""

import json

import pytest

from kpod_ray.comparison.compare import compare
from kpod_ray.config import ARMS, ComparisonConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import open_run
from tests.comparison.comparisons import Ears, config_of


def test_every_built_in_arm_is_a_valid_config(tmp_path):
    config = config_of(tmp_path, arms=tuple(ARMS))
    runs = {name: open_run(config.override(arm.overrides)) for name, arm in ARMS.items()}
    folders = {run.artifacts["train"].folder for run in runs.values()}
    assert len(folders) == len(ARMS)
    own = runs.pop("hand_weights").artifacts
    papers = [runs.pop(name).artifacts for name in ("paper_weights", "kpod_paper")]
    for phase in ("weigh", "assess"):
        (shared,) = {run.artifacts[phase].folder for run in runs.values()}
        (paper,) = {artifacts[phase].folder for artifacts in papers}
        assert len({own[phase].folder, paper, shared}) == 3
    (shared,) = {run.artifacts["teacher"].folder for run in runs.values()}
    assert own["teacher"].folder == shared


def test_a_wrong_arm_is_refused_before_anything_is_made(tmp_path):
    overrides = {"weighting": {"kind": "file", "path": str(tmp_path / "nowhere.jsonl")}}
    custom = {"theirs": {"overrides": overrides}}
    config = config_of(tmp_path, arms=("uniform", "theirs"), custom_arms=custom)
    ears = Ears()
    with pytest.raises(KpodError, match=r"nowhere\.jsonl doesn't exist"):
        compare(config, ears.callbacks)
    assert ears.made == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"arms": ["kpood"]}, "unknown arm kpood"),
        ({"baseline": "kpod"}, "baseline kpod is not among the arms"),
        (
            {"custom_arms": {"big": {"overrides": {"teacher.kind": "vllm"}}}},
            "an arm may change weighting, schedule, student",
        ),
        ({"arms": ["kpod", "uniform", "kpod"]}, "arm kpod is listed twice"),
        *(
            ({"custom_arms": {name: {}}}, f"{name} is a built-in arm; give the custom arm another")
            for name in ("kpod", "uniform", "untrained")
        ),
        ({"custom_arms": {"a b": {}}}, "String should match pattern"),
        *(
            (
                {"custom_arms": {"big": {"overrides": overrides}}},
                rf"arm big changes student.{setting}, which no arm may: ",
            )
            for setting in (
                *("model", "template", "precision", "max_length", "overlength", "kernels"),
                *("validation_fraction", "seed", "loss_token_budget"),
            )
            for overrides in ({f"student.{setting}": 1}, {"student": {setting: 1}})
        ),
        *(
            ({"custom_arms": {"big": {"overrides": {path: 3}}}}, "number of train steps, which")
            for path in ("schedule.num_stages", "student.global_batch_size")
        ),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tmp_path, settings, words):
    with pytest.raises(KpodError, match=words):
        config_of(tmp_path).override({f"comparison.{k}": v for k, v in settings.items()})


def test_a_model_of_an_arm_that_is_not_there_is_told_before_anything_starts(tmp_path):
    own = {"big": {"overrides": {"weighting": {"predictor": "packaged:gone"}}}}
    config = config_of(tmp_path, arms=("uniform", "big"), custom_arms=own)
    with pytest.raises(KpodError, match=r"^arm big: model packaged:gone: known are"):
        compare(config, Ears().callbacks)
    assert not list(tmp_path.glob("*/*/manifest.json"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"student.learning_rate": -1}, "student.learning_rate: Input should be greater than 0"),
        ({"student.lerning_rate": 1}, "unknown key student.lerning_rate, did you mean student.lea"),
        ({"schedule.full_stage": 3}, "full_stage is larger than num_stages"),
        ({"student": 3}, "student: "),
        ({"weighting.num_heads": 2}, "weighting is a value, not a group"),
    ],
)
def test_a_setting_that_an_arm_can_not_have_is_told_with_the_arm(tmp_path, overrides, words):
    own = {"big": {"overrides": overrides}}
    config = config_of(tmp_path, arms=("uniform", "big"), custom_arms=own)
    with pytest.raises(KpodError, match=rf"^arm big: .*{words}"):
        compare(config, Ears().callbacks)
    assert not list(tmp_path.rglob("*"))


def test_with_a_budget_of_tokens_arms_may_differ_in_train_steps(tmp_path):
    own = {"long": {"overrides": {"schedule.num_stages": 3}}}
    config = config_of(tmp_path, arms=("uniform", "long"), custom_arms=own, budget="loss_tokens")
    assert list(config.comparison.chosen()) == ["uniform", "long"]


def test_arms_of_ones_own_are_known():
    own = {"fast": {"description": "d", "overrides": {"student.learning_rate": 1e-2}}}
    config = ComparisonConfig.model_validate({"arms": ["uniform", "fast"], "custom_arms": own})
    assert json.loads(config.model_dump_json())["custom_arms"] == own
    assert list(config.chosen()) == ["uniform", "fast"]


def test_a_student_that_vllm_can_not_evaluate_is_refused_before_anything_is_made(tmp_path):
    config = config_of(tmp_path).override({"student.model": "tiny-t5:1"})
    with pytest.raises(KpodError, match="model tiny-t5:1: vLLM takes no encoder-decoder model"):
        compare(config.override({"evaluation.backend": "vllm"}), Ears().callbacks)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
