"""The string of phases: running those that aren't finished.

No phase calls another; they share nothing but artifacts.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence

import yaml

from kpod_ray.cluster.capacity import check_resources
from kpod_ray.cluster.connection import connect
from kpod_ray.cluster.failures import explained
from kpod_ray.errors import KpodError
from kpod_ray.evaluation.phase import check_backend
from kpod_ray.models.student import check_vocabulary
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.pipeline.naming import PHASES, Run
from kpod_ray.pipeline.phases import makers
from kpod_ray.pipeline.versions import versions
from kpod_ray.report.run.collect import write_report
from kpod_ray.storage.artifacts import Manifest


@dataclasses.dataclass(frozen=True)
class RunCallbacks:
    """What wants to know how a run goes."""

    on_train_step: Callable[[str, Mapping[str, float]], None]
    """Gets the phase and the metrics of every train step of the weighter and the student."""
    on_start: Callable[[str], None]
    """Gets the name of an artifact that is about to be made."""
    on_finish: Callable[[str, Manifest], None]
    """Gets the name and the manifest of every artifact, once it is there."""
    on_rows: Callable[[str, int, int], None]
    """Gets the name of an artifact, how many texts of it are generated, and how many are to be."""


QUIET = RunCallbacks(*[lambda *told: None] * 4)
"""Hears nothing."""


@explained()
def run_phases(run: Run, until: str, callbacks: RunCallbacks) -> None:
    """Run the phases up to and including ``until`` that aren't finished, in order.

    Raises:
        KpodError: A phase has nothing to work on, or the cluster is too small.
    """
    wanted = PHASES[: PHASES.index(until) + 1]
    if "evaluate" in wanted:
        check_backend(run.config)
    if "weigh" in wanted:
        check_vocabulary(run.config.student.model)
    _write_run_files(run)
    names = [name for name in run.artifacts if name.removesuffix("_before") in wanted]
    for name in names:
        manifest = finish_artifact(run, name, callbacks)
        if name == "questions":
            if "evaluate" in wanted:
                check_test_questions(manifest)
            join_cluster(run, names)
    if "report" in wanted:
        write_report(run.config, run.artifacts, f"{run.folder}/report.html")


def finish_artifact(run: Run, name: str, callbacks: RunCallbacks) -> Manifest:
    """Make one artifact, whose inputs are finished, unless it is there; return its manifest.

    Raises:
        KpodError: The phase has nothing to work on.
    """
    if not run.artifacts[name].is_finished():
        if name != "questions":
            connect(run.config.resources)
        callbacks.on_start(name)
        _make(run, name, callbacks)
    manifest = run.artifacts[name].manifest()
    callbacks.on_finish(name, manifest)
    return manifest


def join_cluster(run: Run, names: Sequence[str]) -> None:
    """Connect to Ray if one of these artifacts isn't finished, and check that there is room for them.

    Raises:
        KpodError: The cluster is too small for one of them.
    """
    missing = [name for name in names if not run.artifacts[name].is_finished()]
    if missing:
        connect(run.config.resources)
        check_resources(run.config, missing)


def check_test_questions(manifest: Manifest) -> None:
    """Check that the questions leave something to evaluate on.

    Raises:
        KpodError: There is no test question.
    """
    if not manifest["counts"]["test"]:
        raise KpodError(
            "there is no test question to evaluate on; set questions.test_path, "
            "questions.test_fraction or questions.num_test, or add --until train"
        )


def _make(run: Run, name: str, callbacks: RunCallbacks) -> None:
    started = time.perf_counter()
    with explained():
        make = makers(run.config, run.artifacts, callbacks.on_train_step, callbacks.on_rows)
        manifest = make[name](run.artifacts[name])
        details = {
            "seconds": round(time.perf_counter() - started, 3),
            "versions": versions(),
            "config": run.config.model_dump(),
        }
        run.artifacts[name].finish({**manifest, **details})


def _write_run_files(run: Run) -> None:
    config = yaml.safe_dump(run.config.model_dump(), sort_keys=False)
    run.store.write_text(f"{run.folder}/config.yaml", config)
    folders = {name: artifact.folder for name, artifact in run.artifacts.items()}
    told = {"schema_version": SCHEMA_VERSION, "folders": folders}
    run.store.write_text(f"{run.folder}/artifacts.json", json.dumps(told, indent=2))
