"""Overrides: groups are merged, later ones win, and nothing of the caller's is changed."""

import copy

import pytest

from kpod_ray.config import ArithmeticQuestions, FileQuestions, load, parse_override
from kpod_ray.config.reading.overrides import merged, replaced
from kpod_ray.errors import KpodError
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def test_a_mapping_leaves_its_siblings_alone():
    config = load(SMOKE, ["schedule={num_clusters: 3}", "teacher.samples={retry_rounds: 1}"])
    assert (config.schedule.num_clusters, config.schedule.num_stages) == (3, 4)
    assert (config.teacher.samples.per_question, config.teacher.samples.retry_rounds) == (2, 1)
    assert config.override({"student": {"warmup": 0.5}}).student.learning_rate == 1e-3


def test_a_mapping_of_another_kind_takes_the_place_of_the_group():
    config = load(SMOKE, ["questions={source: file, path: a.jsonl}", "weighting={kind: hand}"])
    assert config.questions == FileQuestions(source="file", path="a.jsonl")
    assert config.weighting.kind == "hand"
    again = config.override({"questions": {"source": "arithmetic"}})
    assert again.questions == ArithmeticQuestions()


def test_a_group_that_is_null_first_starts_from_its_defaults():
    assert load(SMOKE, ["schedule=null", "schedule={num_clusters: 3}"]).schedule.num_stages == 20


def test_a_domain_of_a_sweep_takes_the_place_of_one_of_another_form():
    base = ["sweep.space={schedule.growth: {uniform: [0, 1]}, student.warmup: {choice: [0.1]}}"]
    config = load(SMOKE, [*base, "sweep.space={schedule.growth: {choice: [1, 2]}}"])
    assert config.sweep.space["schedule.growth"].choice == (1, 2)
    assert config.sweep.space["schedule.growth"].uniform is None
    assert config.sweep.space["student.warmup"].choice == (0.1,)


@pytest.mark.parametrize(
    ("overrides", "seed"),
    [
        (["student.seed=1", "student.seed=2"], 2),
        (["student.seed=1", "student={seed: 3}", "student.seed=2"], 2),
        (["student.seed=1", "student={warmup: 0.5}"], 1),
        (["student.seed=1", "student={seed: 3}"], 3),
        (["student={seed: 3}", "student.seed=1", "student.seed=null"], None),
    ],
)
def test_the_last_of_repeated_overrides_wins_also_when_they_are_interleaved(overrides, seed):
    assert load(SMOKE, overrides).student.seed == seed


def test_the_callers_mappings_stay_as_they_are():
    raw, value = {"a": {"b": {"c": 1}}, "list": [1]}, {"b": {"d": 2}}
    before = copy.deepcopy((raw, value))
    result = replaced(raw, [("a", value), ("a.b.d", 3), ("x", value), ("x.b.d", 4)])
    assert result == {"a": {"b": {"c": 1, "d": 3}}, "list": [1], "x": {"b": {"d": 4}}}
    assert (raw, value) == before
    result["a"]["b"]["c"] = 9
    assert (raw, value) == before
    low, high = {"a": {"b": 1}}, {"a": {"c": {"d": 1}}}
    merged(low, high)["a"]["c"]["d"] = 5
    assert (low, high) == ({"a": {"b": 1}}, {"a": {"c": {"d": 1}}})


@pytest.mark.parametrize("path", ["a.b", "list.b", "n.b"])
def test_a_path_through_a_value_is_refused(path):
    with pytest.raises(KpodError, match="is a value, not a group"):
        replaced({"a": 1, "list": [], "n": None}, [(path, 1), (f"{path}.c", 1)])


def test_an_override_is_cut_at_the_first_equals_sign():
    assert parse_override("a.b=c=d") == ("a.b", "c=d")
    assert parse_override("a=") == ("a", None)
