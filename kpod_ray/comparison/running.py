"""Run the phases of many runs of a comparison, several runs at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from kpod_ray.cluster.capacity import num_concurrent
from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.tasks import run_tasks
from kpod_ray.config import RunConfig
from kpod_ray.pipeline.naming import Run, name_run
from kpod_ray.pipeline.run import (
    QUIET,
    RunCallbacks,
    check_finished,
    finish_artifact,
    join_cluster,
)
from kpod_ray.storage.lease import Lease

Task = tuple[RunConfig, tuple[str, ...]]
"""A config, and the names of the artifacts to finish, in the order of the phases."""


def run_unfinished(
    runs: Sequence[Run], names: tuple[str, ...], callbacks: RunCallbacks
) -> Iterator[int]:
    """Finish the named artifacts of each run, several runs at the same time; yield each run's index.

    Runs that were finished before come first, the others in the order in which they finish. Runs with
    the same last artifact are run once. The first failure ends the iteration; the runs that still go on
    are killed.

    Args:
        runs: runs whose earlier artifacts are finished.
        names: names of the artifacts, in the order of the phases; the last one depends on the others.
        callbacks: ``on_wait`` is called for artifacts that other processes are making; the others
            aren't.

    Raises:
        KpodError: A finished artifact is damaged, no cluster answers at the address, the cluster is too
            small, or an artifact can't be made.
        Exception: As in `finish_artifact`.
    """
    waiting: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        if all(run.artifacts[name].is_finished() for name in names):
            yield index
        else:
            waiting.setdefault(run.artifacts[names[-1]].folder, []).append(index)
    if not waiting:
        return
    chosen = [runs[indices[0]] for indices in waiting.values()]
    join_for(chosen[0], names)
    _tell_waits(chosen, names, callbacks)
    config = chosen[0].config
    most = config.comparison.max_concurrent or num_concurrent(config)
    tasks: list[Task] = [(run.config, names) for run in chosen]
    with contextlib.closing(run_tasks(finish_run, tasks, most)) as finished:
        for at, _ in finished:
            yield from waiting[chosen[at].artifacts[names[-1]].folder]


def finish_run(task: Task) -> None:
    """Finish the named artifacts of a run, without callbacks; `run_tasks` calls it in a Ray actor.

    The artifacts of the earlier phases must be finished. Finished artifacts are checked, and not made
    again.

    Raises:
        KpodError: `name_run`, `check_finished` or `finish_artifact` fails.
        Exception: As in `finish_artifact`.
    """
    config, names = task
    run = name_run(config)
    check_finished(run, names)
    for name in names:
        finish_artifact(run, name, QUIET)


def join_for(run: Run, names: Sequence[str]) -> None:
    """Connect to Ray, and check that the cluster has the resources for the named artifacts.

    Ray is started with a dashboard, because Ray Train needs it to free the CPUs of killed trainings.
    """
    connect_with_dashboard(run.config.resources)
    join_cluster(run, names)


def _tell_waits(runs: Iterable[Run], names: Sequence[str], callbacks: RunCallbacks) -> None:
    """Report the artifacts that other processes are making: the runs wait silently."""
    for run in runs:
        for name in names:
            artifact = run.artifacts[name]
            holder = Lease(artifact.store, artifact.folder, artifact.is_finished).holder()
            if holder is not None and not artifact.is_finished():
                callbacks.on_wait(name, holder)
