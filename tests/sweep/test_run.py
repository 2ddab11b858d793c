"""A sweep of tiny students, end to end; what is checked before one starts."""

import hashlib
import io
import json
import shutil

import pytest

from kpod_ray.cli.sweep_progress import sweep_with_progress
from kpod_ray.cli.terminal import Terminal
from kpod_ray.config import RunConfig, load
from kpod_ray.errors import KpodError
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.naming import open_run
from kpod_ray.records import Prediction
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial
from kpod_ray.sweep.run import best_trial, shared_phases, sweep_name
from kpod_ray.sweep.trial import score_of, trial_config

RATES = {"student.learning_rate": {"choice": [1e-4, 1e-2]}}


def config_of(storage, space=RATES, **sweep):
    return RunConfig.model_validate(
        {
            "name": "s",
            "storage": str(storage),
            "questions": {"source": "arithmetic", "num_train": 9, "num_test": 2, "max_steps": 3},
            "teacher": {"kind": "reference"},
            "weighting": None,
            "schedule": {"num_stages": 2, "num_clusters": 2},
            "student": {
                "model": "tiny:1",
                "global_batch_size": 4,
                "validation_fraction": 0.3,
            },
            "evaluation": {
                "backend": "transformers",
                "max_new_tokens": 4,
                "also": {"longer": {"source": "arithmetic", "num_test": 2, "min_steps": 4}},
            },
            "resources": {"train": {"num_workers": 1, "num_threads": 1}},
            "tracking": {"mode": "disabled"},
            "sweep": {"space": space, "search": "grid", "early_stopping": "none", **sweep},
        }
    )


@pytest.fixture(scope="module")
def swept(ray_cluster, tmp_path_factory):
    """A storage after a sweep, and what the sweep has printed."""
    storage, console = tmp_path_factory.mktemp("sweep"), Terminal(file=io.StringIO(), width=200)
    sweep_with_progress(open_run(config_of(storage)), console)
    return storage, console.file.getvalue()


@pytest.mark.slow
def test_trials_share_one_corpus_and_one_plan(swept):
    storage, printed = swept
    for phase in ("teacher", "weigh", "assess", "plan"):
        assert len(list(storage.glob(f"{phase}/*/manifest.json"))) == 1, phase
    assert len(list(storage.glob("questions/*/questions.parquet"))) == 1
    assert len(list(storage.glob("train/*/manifest.json"))) == 2
    assert "2 finished, 0 stopped, 0 failed; stopping saved 0% of the training" in printed
    trials = json.loads((storage / "runs/s/trials.json").read_text())
    assert [trial["state"] for trial in trials] == [FINISHED] * 2
    assert [[percent for percent, _ in trial["curve"]] for trial in trials] == [[50, 100]] * 2
    assert (storage / "runs/s/sweep.html").stat().st_size > 1_000_000


@pytest.mark.slow
def test_the_best_config_is_a_run_whose_training_is_finished(swept):
    storage, _ = swept
    trials = json.loads((storage / "runs/s/trials.json").read_text())
    best = min(trials, key=lambda trial: trial["curve"][-1][1])
    config = load(storage / "runs/s/best.yaml")
    assert config.student.learning_rate == best["settings"]["student.learning_rate"]
    run = open_run(config)
    assert all(artifact.is_finished() for artifact in run.artifacts.values())
    assert score_of(run) == best["curve"][-1][1]
    page = (storage / "runs/s-best/report.html").read_text()
    assert "Further test sets" in page
    for name in ("evaluate_also_before", "evaluate_also"):
        scores = run.artifacts[name].manifest()["sets"]["longer"]
        predictions = Prediction.from_table(run.artifacts[name].read("predictions_longer"))
        assert scores["counts"]["questions"] == len(predictions) == 2
        assert scores["accuracy"]["value"] == sum(row.is_correct for row in predictions) / 2


@pytest.mark.slow
def test_the_same_sweep_again_costs_nothing(swept):
    storage, _ = swept
    before = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    console = Terminal(file=io.StringIO(), width=200)
    sweep_with_progress(open_run(config_of(storage)), console)
    assert "2 finished" in console.file.getvalue()
    after = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    assert before == after


def test_phases_that_no_trial_changes_are_shared(tmp_path):
    assert shared_phases(config_of(tmp_path)) == ["questions", "teacher", "weigh", "assess", "plan"]
    growth = {"schedule.growth": {"choice": [0.5, 2.0]}, **RATES}
    assert shared_phases(config_of(tmp_path, growth)) == ["questions", "teacher", "weigh", "assess"]
    lengths = {"student.max_length": {"choice": [64, 128]}}
    assert shared_phases(config_of(tmp_path, lengths)) == ["questions", "teacher", "weigh"]
    counts = {"questions.num_train": {"choice": [8, 9]}}
    assert shared_phases(config_of(tmp_path, counts)) == []


def test_more_trials_at_a_time_than_there_is_room_for_are_refused(ray_cluster, tmp_path):
    console = Terminal(file=io.StringIO())
    with pytest.raises(
        KpodError, match=r"^sweep.max_concurrent=50: the cluster has room for \d+ tr"
    ):
        sweep_with_progress(open_run(config_of(tmp_path, max_concurrent=50)), console)


def test_another_place_or_number_of_trials_at_a_time_is_the_same_sweep(tmp_path):
    config = config_of(tmp_path)
    same = config.override({"storage": "/elsewhere", "sweep.max_concurrent": 3})
    assert sweep_name(same) == sweep_name(config)
    assert sweep_name(config.override({"evaluation.also": None})) == sweep_name(config)
    assert sweep_name(config.override({"sweep.num_seeds": 2})) != sweep_name(config)
    assert sweep_name(config.override({"student.warmup": 0.1})) != sweep_name(config)


def test_an_edited_file_or_model_folder_makes_another_sweep(tmp_path):
    file, model = tmp_path / "q.jsonl", tmp_path / "model"
    file.write_text("{}")
    shutil.copytree(model_folder("tiny:0"), model)
    config = config_of(tmp_path, {"student.model": {"choice": ["tiny:1", str(model), "tiny:2"]}})
    config = config.override({"questions": {"source": "file", "path": str(file)}})
    names = [sweep_name(config)]
    file.write_text("{ }")
    names.append(sweep_name(config))
    with (model / "config.json").open("a") as changed:
        changed.write(" ")
    names.append(sweep_name(config))
    assert sweep_name(config) == names[2]
    assert len(set(names)) == 3


def test_what_tune_kept_of_the_same_sweep_before_schema_4_is_left_aside(tmp_path):
    config = config_of(tmp_path)
    settings = config.model_dump(
        mode="json", exclude={"storage", "resources", "tracking", "comparison"}
    )
    settings["sweep"].pop("max_concurrent")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    assert sweep_name(config) != f"s-{digest[:8]}"


def test_seeds_of_a_trial_are_those_of_the_config_and_the_next_ones(tmp_path):
    one, three = config_of(tmp_path), config_of(tmp_path, num_seeds=3).override({"seed": 7})
    assert trial_config(one, {"student.warmup": 0.2}, 0).student.seed is None
    assert [trial_config(three, {}, seed).student.seed for seed in range(3)] == [7, 8, 9]


def trial(state, *values):
    curve = tuple((100.0 * (i + 1) / 4, value) for i, value in enumerate(values))
    return SweepTrial("", {}, curve, state, "it broke" if state == FAILED else "")


def test_the_best_trial_is_the_best_of_those_that_are_finished(tmp_path):
    config = config_of(tmp_path)
    ended = [
        trial(FINISHED, 1, 1, 1, 0.5),
        trial(STOPPED, 0.1),
        trial(FINISHED, 1, 1, 1, 0.4),
        trial(FINISHED, 1, 1, 1, float("nan")),
    ]
    assert best_trial(ended, config) is ended[2]
    higher = config.override({"sweep.objective": "validation_token_accuracy"})
    assert best_trial(ended, higher) is ended[0]
    with pytest.raises(
        KpodError, match=r"no trial of the sweep was finished, 1 failed, such as: it b"
    ):
        best_trial([trial(STOPPED, 1), trial(FAILED)], config)
