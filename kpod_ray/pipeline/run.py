"""Run the unfinished phases of a run in order.

Phases don't call each other and share nothing but artifacts, so that a run resumes at the first phase
whose artifact isn't finished, and runs with the same fingerprints share artifacts.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from kpod_ray.cluster.capacity import check_resources
from kpod_ray.cluster.connection import connect
from kpod_ray.cluster.failures import explained
from kpod_ray.models.student import check_vocabulary
from kpod_ray.pipeline.checks import check_backend
from kpod_ray.pipeline.naming import PHASES, Run
from kpod_ray.pipeline.phases import makers
from kpod_ray.pipeline.run_files import write_run_files
from kpod_ray.pipeline.versions import versions
from kpod_ray.questions.splits import check_test_questions
from kpod_ray.report.run.collect import write_report
from kpod_ray.storage.artifacts import Manifest
from kpod_ray.storage.lease import Lease, OnLost, leased


@dataclasses.dataclass(frozen=True)
class RunCallbacks:
    """Functions that a run calls to report its progress."""

    on_train_step: Callable[[str, Mapping[str, float]], None]
    """Takes the phase (``weigh`` or ``train``) and the metrics of a train step, after every train step.
    Called in a thread; after an exception, the callback isn't called again for this phase, and the run
    goes on."""
    on_start: Callable[[str], None]
    """Takes the name of an artifact, before the artifact is made."""
    on_finish: Callable[[str, Manifest], None]
    """Takes the name and the manifest of an artifact, once the artifact is finished; also for an
    artifact that an earlier run has finished."""
    on_rows: Callable[[str, int, int], None]
    """Takes the name of an artifact, the number of texts generated so far, and the number of all
    texts."""
    on_wait: Callable[[str, str], None]
    """Takes the name of an artifact and the process that is making it (or its completions), for which
    this process waits: ``host node-1, process 4711``."""
    on_lost: OnLost
    """Takes the error of an artifact that another process took over, because this one was asleep.
    Called in a thread; the callback should end the process, which otherwise disturbs the other one until
    the phase ends with this error."""


QUIET = RunCallbacks(*[lambda *arguments: None] * 6)
"""Callbacks that do nothing."""


@explained()
def run_phases(run: Run, until: str, callbacks: RunCallbacks) -> None:
    """Run the unfinished phases up to and including ``until``, in order.

    Ray is started or joined only when a phase after ``questions`` is unfinished, and stays connected.
    The files ``config.yaml`` and ``artifacts.json`` in the run's folder are written before the first
    phase, and ``report.html`` in phase ``report``; all replace existing files, also if every artifact
    was finished before the call. With ``until`` beyond ``teacher``, the tokenizer of a student on the
    hub is downloaded.

    Args:
        run: opened run, see `open_run`.
        until: last phase, one of `PHASES`.
        callbacks: called as the run proceeds; ``on_finish`` is called for every artifact up to
            ``until``, also for those that an earlier run finished.

    Raises:
        KpodError: A finished artifact is damaged, `check_backend` or `check_vocabulary` refuses the
            student's model, there is no test question to evaluate on, no cluster answers at the address,
            the cluster is too small for a phase, a phase fails (see `finish_artifact`), or the storage
            is full or fails.
        ValueError: ``until`` is no phase, or as in `check_backend` and `check_vocabulary`.
        OSError: As in `check_backend` and `check_vocabulary`.
        Exception: As in `finish_artifact`.
    """
    wanted = PHASES[: PHASES.index(until) + 1]
    if "evaluate" in wanted:
        check_backend(run.config)
    if "weigh" in wanted:
        check_vocabulary(run.config.student.model)
    write_run_files(run)
    names = [name for name, artifact in run.artifacts.items() if artifact.phase in wanted]
    check_finished(run, names)
    questions = [name for name in names if run.artifacts[name].phase == "questions"]
    for name in questions:
        manifest = finish_artifact(run, name, callbacks)
        if name == "questions" and "evaluate" in wanted:
            check_test_questions(manifest["counts"]["test"])
    # after the questions, which take seconds, and before the phases that take hours
    join_cluster(run, names)
    for name in names[len(questions) :]:
        finish_artifact(run, name, callbacks)
    if "report" in wanted:
        write_run_files(run)  # another run with this name may have written its own meanwhile
        write_report(run.config, run.artifacts, f"{run.folder}/report.html")


@explained()
def finish_artifact(run: Run, name: str, callbacks: RunCallbacks) -> Manifest:
    """Make one artifact if it isn't finished, and return its manifest.

    If another process is making the artifact, the function waits for it, and makes the artifact only if
    that process dies or gives up (see `kpod_ray.storage.lease`). The function connects to Ray before it
    makes an artifact of another phase than ``questions``, and stays connected. The capacity of the
    cluster isn't checked; call `join_cluster` first to check it.

    Args:
        run: run whose artifacts of earlier phases are finished.
        name: name of the artifact, a key of ``run.artifacts``.
        callbacks: ``on_wait`` is called if another process is waited for, ``on_start`` if the artifact
            is made, ``on_finish`` in any case.

    Raises:
        KpodError: No cluster answers at the address, the phase has no rows to work on, the phase raises
            a `KpodError`, the disk of the storage is full, its object store fails, or another process
            took over while this one was asleep.
        Exception: The phase, a callback or the reading of a manifest failed for another reason. An
            artifact whose phase failed stays unfinished; the next call continues it.
    """
    artifact = run.artifacts[name]
    if not artifact.is_finished():
        on_wait = functools.partial(callbacks.on_wait, name)
        is_done, on_lost = artifact.is_finished, callbacks.on_lost
        with leased(artifact.store, artifact.folder, is_done, on_wait, on_lost) as lease:
            if lease is not None:
                if artifact.phase != "questions":
                    connect(run.config.resources)
                callbacks.on_start(name)
                _make(run, name, callbacks, lease)
    manifest = artifact.manifest()
    callbacks.on_finish(name, manifest)
    return manifest


def check_finished(run: Run, names: Iterable[str]) -> None:
    """Check the files of those of the named artifacts that are finished, see `Artifact.check`.

    Raises:
        KpodError: A file is missing or was changed; the message says which folder to delete.
    """
    for name in names:
        if run.artifacts[name].is_finished():
            run.artifacts[name].check()


def join_cluster(run: Run, names: Sequence[str]) -> None:
    """Connect to Ray and check its capacity, if one of the named artifacts isn't finished.

    ``names`` are keys of ``run.artifacts``. If the cluster is autoscaling, missing capacity is only a
    warning.

    Raises:
        KpodError: No cluster answers at the address, or the cluster is too small for the phase of an
            unfinished artifact.
    """
    missing = [name for name in names if not run.artifacts[name].is_finished()]
    if missing:
        connect(run.config.resources)
        check_resources(run.config, missing)


def _make(run: Run, name: str, callbacks: RunCallbacks, lease: Lease) -> None:
    """Run the phase of an artifact; then finish the artifact with time, versions and config."""
    was_begun = run.artifacts[name].exists()
    started = time.perf_counter()
    on_wait = functools.partial(callbacks.on_wait, name)
    make = makers(run.config, run.artifacts, callbacks.on_train_step, callbacks.on_rows, on_wait)
    manifest = make[name](run.artifacts[name])
    details = {
        "seconds": round(time.perf_counter() - started, 3),
        "is_resumed": was_begun,  # then the seconds aren't those of the whole phase
        "versions": versions(),
        "config": run.config.model_dump(),
    }
    run.artifacts[name].finish({**manifest, **details}, lease.confirm)
