import subprocess
import sys

import pytest

from kpod_ray.config import LearnedWeighting, RunConfig, load, parse_override
from kpod_ray.errors import KpodError
from tests.config.minimal import MINIMAL
from tests.conftest import REPOSITORY

CONFIGS = sorted(
    path
    for path in (REPOSITORY / "configs").rglob("*.yaml")
    if path.parent.name not in ("parts", "cluster") or path.name == "run.yaml"  # no config alone
)
FILE = {"source": "file", "path": "a.jsonl"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    assert load(path).name == path.stem


def test_an_override_replaces_one_value_and_nothing_else():
    config = RunConfig.model_validate(MINIMAL)
    changed = config.override({"student.learning_rate": "1e-4", "schedule.num_stages": 3})
    assert changed.student.learning_rate == 1e-4
    assert changed.schedule.num_stages == 3
    assert changed.override({"student.learning_rate": 1e-5, "schedule.num_stages": 20}) == config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weighting": None},
        {"weighting": {"num_train_steps": 3}},
        {"weighting": {"kind": "file", "path": "w.jsonl"}},
        {"weighting": {"kind": "hand", "plain_weight": 0.5}},
    ],
)
def test_a_dump_validates_to_the_same_config(settings):
    config = RunConfig.model_validate({**MINIMAL, **settings})
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("kind", [{}, {"kind": "learned"}])
def test_token_weights_without_a_kind_are_learned(kind):
    config = RunConfig.model_validate({**MINIMAL, "weighting": {**kind, "num_train_steps": 3}})
    assert config.weighting == LearnedWeighting(num_train_steps=3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"student.lerning_rate": 1},
            ["student.lerning_rate, did you mean student.learning_rate?"],
        ),
        ({"schdule.num_stages": 3}, ["schdule", "did you mean schedule"]),
        ({"weigher": None}, ["unknown key weigher, did you mean weighting?"]),  # of its own group
        ({"sweep.stopping": "asha"}, ["sweep.stopping, did you mean sweep.early_stopping?"]),
        (
            {"comparison.custom_arms.fast.overides": {}},
            ["fast.overides, did you mean comparison.custom_arms.fast.overrides?"],
        ),
        ({"student.learning_rate": -1}, ["student.learning_rate", "greater than 0", "-1"]),
        ({"student": None}, ["student"]),
        (
            {"student.num_clusters": 4},
            ["student.num_clusters, did you mean schedule.num_clusters?"],
        ),
        ({"num_stages": 4}, ["unknown key num_stages, did you mean schedule.num_stages?"]),
        ({"schedule.full_stage": 30}, ["full_stage is larger than num_stages"]),
        (
            {"schedule.adaptive": True, "schedule.order": "none"},
            ["adaptive needs order progressive"],
        ),
        ({"questions.source": "nowhere"}, ["questions.source", "'arithmetic'", "nowhere"]),
        ({"weighting": {"kind": "hnd"}}, ["weighting.kind", "'learned'", "'hand'", "hnd"]),
        ({"student.token_weights": "symbols"}, ["student.token_weights", "from_weighting"]),
        ({"student.loss": "probability"}, ["student.loss", "dft"]),
        ({"evaluation.also.Asdiv": FILE}, ["evaluation.also.Asdiv: ", "lower-case", "'Asdiv'"]),
        ({"evaluation.also": {"a/b": FILE}}, ["evaluation.also.a/b: ", "lower-case letters"]),
        ({"evaluation.also": {"a.b": FILE}}, ["evaluation.also.a.b: ", "lower-case letters"]),
        ({"evaluation.also": {"": FILE}}, ["evaluation.also.'': ", "lower-case letters"]),
        ({"evaluation.also": {"n" * 41: FILE}}, ["at most 40"]),
        ({"evaluation.also": [FILE]}, ["evaluation.also: expected a group of settings"]),
        ({"evaluation.also.a": 3}, ["evaluation.also.a"]),
        ({"evaluation.also.a": {"path": "a.jsonl"}}, ["evaluation.also.a.source is missing"]),
        ({"evaluation.also.a": {"source": "fil"}}, ["evaluation.also.a.source: expected", "'fil'"]),
        ({"evaluation.also.a": {"source": "file"}}, ["evaluation.also.a.path is missing"]),
        (
            {"evaluation.also.a": {**FILE, "limt": 3}},
            ["unknown key evaluation.also.a.limt, did you mean evaluation.also.a.limit?"],
        ),
        (
            {"evaluation.also.a": {**FILE, "num_test": 3}},
            ["unknown key evaluation.also.a.num_test: file has no such key, arithmetic has"],
        ),
        (
            {"evaluation.also.a": {**FILE, "allow_missing_answers": True}},
            ["evaluation.also.a: allow_missing_answers: a test question needs an answer"],
        ),
        ({"name": "../elsewhere"}, ["name", "../elsewhere"]),
        ({"name.first": 1}, ["name.first", "is a value"]),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(overrides, words):
    with pytest.raises(KpodError) as caught:
        RunConfig.model_validate(MINIMAL).override(overrides)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("a: [", "this is not YAML"), ("- a", "mapping")],
)
def test_a_broken_file_is_named(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KpodError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_key_of_another_kind_is_said_to_be_that():
    with pytest.raises(KpodError) as caught:
        load(REPOSITORY / "configs" / "smoke.yaml", ["weighting={kind: hand, num_heads: 3}"])
    assert "unknown key weighting.num_heads: hand has no such key, learned has" in str(caught.value)


def test_override_values_are_yaml():
    assert parse_override("a.b=1e-3") == ("a.b", 1e-3)
    assert parse_override("a=[1, 2]") == ("a", [1, 2])
    assert parse_override("a=x=y") == ("a", "x=y")
    for text in ("a.b", "=1", "a={", ".a=1", "a.=1", "a..b=1", "a b=1", "a=\x1b", "a\x1b=1"):
        with pytest.raises(KpodError, match="override"):
            parse_override(text)


def test_full_stage_defaults_to_half_the_stages():
    config = RunConfig.model_validate(MINIMAL)
    for num_stages, expected in ((20, 10), (5, 2), (1, 1)):
        changed = config.override({"schedule.num_stages": num_stages})
        assert changed.schedule.resolved_full_stage == expected


def test_importing_the_config_loads_neither_torch_nor_ray():
    code = "import kpod_ray.config, sys; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
