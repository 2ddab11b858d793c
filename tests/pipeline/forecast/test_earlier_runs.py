"""Which earlier artifacts tell the time of a phase, and which don't."""

import json

import pytest

from kpod_ray.config import load
from kpod_ray.pipeline.forecast.earlier_runs import EarlierRuns
from kpod_ray.pipeline.naming import name_run
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"
COUNTS = {
    "teacher": {"generated": 24, "samples": 30},
    "weigh": {"rationales": 12},
    "assess": {"rationales": 12},
    "plan": {"questions": 11},
    "train": {"train_steps": 12, "tokens": 999},
    "evaluate_before": {"questions": 4},
    "evaluate": {"questions": 4},
}
ITEMS = {
    "teacher": 24,
    "weigh": 12,
    "assess": 12,
    "plan": 11,
    "train": 12,
    "evaluate_before": 4,
    "evaluate": 4,
}
SECONDS = {name: 10.0 + number for number, name in enumerate(COUNTS)}


def config_of(tmp_path, *overrides):
    return load(SMOKE, [f"storage={tmp_path / 'store'}", *overrides])


def write_run(config, **changes):
    """Write the manifests of a finished run; return its artifacts."""
    run = name_run(config)
    for name, counts in COUNTS.items():
        is_before = name.endswith("_before")
        manifest = {
            "counts": counts,
            "seconds": SECONDS[name],
            "is_resumed": False,
            "config": run.config.model_dump(),
            "model": config.student.model if is_before else "the trained one",
        }
        run.artifacts[name].finish({**manifest, **changes})
    return run.artifacts


def found(tmp_path, *overrides):
    """Return name -> items and seconds that a run with other settings finds."""
    config = config_of(tmp_path, *overrides)
    earlier = EarlierRuns(name_run(config).store)
    return {
        name: [(m.items, m.seconds) for m in earlier.measured(name, config)]
        for name in [*COUNTS, "questions"]
    }


ALL = {name: [(ITEMS[name], SECONDS[name])] for name in COUNTS} | {"questions": []}


def without(*names):
    return {name: [] if name in names else times for name, times in ALL.items()}


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["name=other", "seed=7", "student.learning_rate=1e-4", "student.loss_token_budget=9"],
        ["questions.num_train=400", "questions.num_test=9", "evaluation.limit=3"],
        ["teacher.samples.per_question=8", "teacher.filters.min_steps=2"],
        ["resources.train.max_failures=9", "resources.teacher.labels={group: a}"],
    ],
)
def test_the_size_of_the_work_and_what_costs_no_time_may_differ(tmp_path, overrides):
    write_run(config_of(tmp_path))
    assert found(tmp_path, *overrides) == ALL


AFTER_TEACHER = ("weigh", "assess", "plan", "train")


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("teacher.model=tiny:9", ("teacher", *AFTER_TEACHER)),
        ("teacher.max_new_tokens=99", ("teacher", *AFTER_TEACHER)),
        ("student.model=tiny:9", (*AFTER_TEACHER, "evaluate_before", "evaluate")),
        ("student.precision=bf16", ("assess", "train", "evaluate_before", "evaluate")),
        ("student.micro_batch_tokens=99", ("train",)),
        ("questions.max_steps=5", tuple(COUNTS)),
        ("weighting.num_train_steps=9", ("weigh",)),
        ("schedule.num_clusters=3", ("plan",)),
        ("schedule.adaptive=true", ("plan", "train")),
        ("evaluation.max_new_tokens=99", ("evaluate_before", "evaluate")),
        ("resources.teacher.num_actors=2", ("teacher",)),
        ("resources.apply_weighter.num_cpus=2", ("weigh",)),
        ("resources.assess.num_gpus=1", ("assess",)),
        ("resources.train.num_workers=4", ("train",)),
        ("resources.evaluate.num_threads=2", ("evaluate_before", "evaluate")),
    ],
)
def test_another_model_data_or_processor_is_other_work(tmp_path, override, changed):
    write_run(config_of(tmp_path))
    assert found(tmp_path, override) == without(*changed)


def test_all_runs_of_a_storage_count(tmp_path):
    write_run(config_of(tmp_path))
    write_run(config_of(tmp_path, "seed=1"), seconds=99.0)
    assert sorted(found(tmp_path, "seed=2")["train"]) == [(12, SECONDS["train"]), (12, 99.0)]


@pytest.mark.parametrize("changes", [{"is_resumed": True}, {"is_resumed": None}])
def test_a_phase_that_was_interrupted_tells_no_time(tmp_path, changes):
    write_run(config_of(tmp_path), **changes)
    assert found(tmp_path) == without(*COUNTS)


def test_damaged_and_unfinished_artifacts_are_left_out(tmp_path):
    artifacts = write_run(config_of(tmp_path))
    manifest = tmp_path / "store" / artifacts["train"].folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace("seconds", "secondz"))
    (tmp_path / "store" / artifacts["weigh"].folder / "manifest.json").unlink()
    assert found(tmp_path) == without("train", "weigh")


def test_further_sets_are_told_from_the_test_questions(tmp_path):
    also = "evaluation.also={more: {source: arithmetic, num_train: 1, num_test: 5}}"
    config = config_of(tmp_path, also)
    run = name_run(config)
    write_run(config_of(tmp_path))
    for name, model in (("evaluate_also_before", config.student.model), ("evaluate_also", "t")):
        manifest = {"counts": {"questions": 5}, "seconds": 3.0, "is_resumed": False, "sets": {}}
        run.artifacts[name].finish({**manifest, "config": config.model_dump(), "model": model})
    earlier = EarlierRuns(run.store)
    times = {
        name: [(m.items, m.seconds) for m in earlier.measured(name, config)]
        for name in ("evaluate_before", "evaluate", "evaluate_also_before", "evaluate_also")
    }
    assert times == {
        "evaluate_before": ALL["evaluate_before"],
        "evaluate": ALL["evaluate"],
        "evaluate_also_before": [(5, 3.0)],
        "evaluate_also": [(5, 3.0)],
    }


def test_a_storage_that_is_not_there_yet_tells_nothing(tmp_path):
    assert found(tmp_path) == without(*COUNTS)
    assert not (tmp_path / "store").exists()


def test_settings_are_compared_as_manifests_hold_them(tmp_path):
    """JSON has lists where a config has tuples."""
    stop = "teacher.stop=[END]"
    write_run(config_of(tmp_path, stop))
    assert found(tmp_path, stop)["teacher"] == ALL["teacher"]
    assert json.loads(json.dumps(config_of(tmp_path, stop).model_dump()))["teacher"]["stop"] == [
        "END"
    ]
