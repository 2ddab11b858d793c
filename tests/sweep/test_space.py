"""What is checked of a sweep before anything starts: every value, and the values together."""

import itertools
import time

import pytest

from kpod_ray.config import Domain, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.sweep.space import check_sweep


def config_of(storage, space=None, **sweep):
    return RunConfig.model_validate(
        {
            "name": "s",
            "storage": str(storage),
            "questions": {"source": "arithmetic", "num_train": 9, "num_test": 2, "max_steps": 3},
            "teacher": {"kind": "reference"},
            "weighting": None,
            "student": {"model": "tiny:1", "validation_fraction": 0.3},
            "evaluation": {"backend": "transformers"},
            "sweep": {"space": space or {}, **sweep},
        }
    )


def test_an_empty_space_is_refused(tmp_path):
    with pytest.raises(
        KpodError, match=r"^sweep.space is empty; give dotted paths of settings and"
    ):
        check_sweep(config_of(tmp_path))


RATES = {"student.learning_rate": {"choice": [1e-4, 1e-2]}}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"student.validation_fraction": 0.0}, r"on the validation set; set student.valid"),
        (
            {"sweep.objective": "validation_accuracy"},
            r"is not measured; set student.accuracy_every_stages$",
        ),
        (
            {"sweep.space": {"schedule.gowth": {"choice": [1]}}},
            r"^sweep.space: unknown key schedule.gowth, did you mean schedule.growth\?$",
        ),
        (
            {"sweep.space": {"schedule.growth": {"choice": [1, -1]}}},
            r"schedule.growth: .*greater than or equal to 0 \(got -1\.?0?\)$",
        ),
        (
            {"sweep.space": {"student.model": {"choice": ["tiny:1", "packaged:gone"]}}},
            r"^model packaged:gone: known are",
        ),
        (
            {
                "evaluation.backend": "vllm",
                "sweep.space": {"student.model": {"choice": ["tiny:1", "tiny-t5:1"]}},
            },
            r"^model tiny-t5:1: vLLM takes no encoder-decoder model; set evaluation.backend=",
        ),
    ],
)
def test_what_can_not_be_swept_is_told_before_anything_starts(tmp_path, overrides, message):
    with pytest.raises(KpodError, match=message):
        check_sweep(config_of(tmp_path, RATES).override(overrides))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"schedule.num_clusters": {"uniform": [2, 8]}},
            r"^sweep.space: schedule.num_clusters: .* integer.*; for whole numbers, use randint$",
        ),
        ({"student.global_batch_size": {"loguniform": [2, 8]}}, "use randint$"),
        ({"student.packing": {"uniform": [0, 1]}}, r"student.packing: .* boolean"),
        ({"student.model": {"uniform": [0, 1]}}, r"student.model: .* string"),
        ({"student": {"choice": [1]}}, r"^sweep.space: student: "),
        ({"student.lora": {"choice": [4]}}, r"^sweep.space: student.lora: "),
        ({"schedule.growth": {"choice": ["fast"]}}, r"schedule.growth: .*got 'fast'"),
        ({"schedule.growth.power": {"choice": [1]}}, "growth is a value, not a group"),
        ({"schedule.full_stage": {"choice": [30]}}, "full_stage is larger than num_stages"),
        (
            {
                "schedule.num_stages": {"randint": [4, 20]},
                "schedule.full_stage": {"randint": [2, 10]},
            },
            r"^sweep.space: schedule.num_stages=4 schedule.full_stage=10: .*full_stage is larger",
        ),
        (
            {
                "schedule.adaptive": {"choice": [False, True]},
                "schedule.order": {"choice": ["progressive", "none"]},
            },
            r"schedule.adaptive=True schedule.order=none: .*adaptive needs order progressive",
        ),
    ],
)
def test_a_value_that_a_trial_could_not_have_is_named(tmp_path, space, message):
    with pytest.raises(KpodError, match=message) as caught:
        check_sweep(config_of(tmp_path, space))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_values_that_only_fit_together_may_be_swept(tmp_path):
    space = {"schedule.num_stages": {"choice": [40, 50]}, "schedule.full_stage": {"choice": [30]}}
    check_sweep(config_of(tmp_path, space))


def test_a_wrong_pair_is_found_among_more_combinations_than_can_be_tried(tmp_path):
    paths = [
        "student.warmup",
        "student.weight_decay",
        "schedule.growth",
        "schedule.initial_fraction",
    ]
    space = {path: {"choice": [i / 10 for i in range(8)]} for path in paths}
    check_sweep(config_of(tmp_path, space))
    space["schedule.num_stages"] = {"randint": [4, 20]}
    space["schedule.full_stage"] = {"randint": [2, 10]}
    started = time.perf_counter()
    with pytest.raises(KpodError, match="full_stage is larger than num_stages"):
        check_sweep(config_of(tmp_path, space))
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            {
                "search": "grid",
                "space": {
                    f"schedule.{k}": {"choice": [*range(1, 102)]} for k in ("growth", "num_stages")
                },
            },
            "a grid of 10,201 trials",
        ),
        ({"num_seeds": 3}, "student.seed"),
        ({}, "name: String should have at most 100"),
    ],
)
def test_what_trials_would_be_named_or_seeded_by_is_checked_at_the_start(tmp_path, sweep, message):
    config = config_of(tmp_path, **{"space": RATES, **sweep})
    if "num_seeds" in sweep:
        config = config.override({"seed": 2**32 - 2})
    if not sweep:
        config = config.override({"name": "n" * 97})
    with pytest.raises(KpodError, match=message):
        check_sweep(config)


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        ({"uniform": [0, 0]}, "the lowest value is not below the highest"),
        ({"loguniform": [2, 1]}, "the lowest value is not below the highest"),
        ({"loguniform": [0, 1]}, "greater than 0"),
        ({"uniform": [float("-inf"), 1]}, "finite"),
        ({"uniform": [0, float("nan")]}, "finite"),
        ({"randint": [True, 5]}, "expected no boolean"),
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, 2, 1.0]}, "lists a value twice"),
        ({"choice": [1], "uniform": [0, 1]}, "exactly one of"),
        ({}, "exactly one of"),
    ],
)
def test_a_domain_that_holds_nothing_or_too_much_is_refused(tmp_path, domain, message):
    with pytest.raises(KpodError, match=message):
        config_of(tmp_path).override({"sweep.space": {"schedule.growth": domain}})


def test_a_choice_may_have_true_beside_one_and_text_beside_a_number():
    assert Domain(choice=(True, 1, "1", None)).probes() == [True, 1, "1", None]


def test_the_probes_of_a_range_are_its_bounds_and_no_whole_number_between():
    for kind, (low, high) in itertools.product(("uniform", "loguniform"), ((1, 2), (1, 9), (2, 7))):
        first, last, between = Domain(**{kind: (low, high)}).probes()
        assert (first, last) == (low, high)
        assert low < between < high
        assert between != int(between)
    assert Domain(randint=(1, 4)).probes() == [1, 4]
