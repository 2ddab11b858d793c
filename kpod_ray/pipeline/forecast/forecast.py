"""The forecast of a run: for each phase what runs, where, how much, how long and for how much money."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kpod_ray.cluster.capacity import missing_capacity, phases_of, request_text
from kpod_ray.cluster.planned_nodes import PlannedNodes
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.forecast.earlier_runs import EarlierRuns
from kpod_ray.pipeline.forecast.estimates import Amount, Measured, expected_seconds
from kpod_ray.pipeline.forecast.inputs import Inputs
from kpod_ray.pipeline.forecast.work import Work, work_of
from kpod_ray.pipeline.naming import PHASES, Run
from kpod_ray.storage.artifacts import Artifact, Manifest


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a phase runs: the processes of one group of ``resources``."""

    processes: str
    """Number and size of the processes, see `request_text`."""
    fits: bool | None
    """Whether the nodes have room for the processes; None if the nodes aren't known."""
    shortage: str = ""
    """What the nodes lack, in one line; empty if they lack nothing or aren't known."""


@dataclasses.dataclass(frozen=True)
class PhaseForecast:
    """What one artifact of a run needs before it is finished."""

    name: str
    """Name of the artifact, see `name_artifacts`."""
    manifest: Manifest | None
    """The manifest of a finished artifact; None for one that is to be made."""
    is_begun: bool = False
    """Whether an interrupted phase goes on; only a teacher's samples are taken off its work."""
    work: Work | None = None
    """None if the artifact is finished, or its work can't be counted."""
    places: Sequence[Place] = ()
    """Empty for a phase in the process of the command."""
    seconds: Amount | None = None
    """Expected time; None if no earlier run has done the same work."""
    measured: Sequence[Measured] = ()
    """The earlier runs from which the time is taken."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The forecast of all wanted phases of a run."""

    phases: Sequence[PhaseForecast]
    problems: Sequence[str]
    """What couldn't be read, each in one line."""


def forecast(run: Run, until: str, planned: PlannedNodes | None) -> Forecast:
    """Return what a run will do up to a phase; nothing is written, generated or started.

    The questions are loaded, and up to some thousand prompts are tokenised; both may be downloaded from
    the hub. What can't be read is a problem of the result, and the amounts that need it are unknown.

    Args:
        run: named run, whose storage need not exist.
        until: last phase, one of `PHASES`.
        planned: nodes of the run; None if they aren't known.

    Raises:
        KpodError: A manifest is damaged, or the storage can't be read.
    """
    wanted = PHASES[: PHASES.index(until) + 1]
    inputs, earlier = Inputs(run), EarlierRuns(run.store)
    problems = list[str]()
    phases = []
    for name, artifact in run.artifacts.items():
        if artifact.phase not in wanted:
            continue
        if artifact.is_finished():
            phases.append(PhaseForecast(name, artifact.manifest()))
            continue
        try:
            work = work_of(name, inputs)
        except KpodError as error:
            problems.append(str(error))
            work = None
        phases.append(_unfinished(name, artifact, work, (run.config, earlier, planned)))
    return Forecast(phases, list(dict.fromkeys([*inputs.problems, *problems])))


def _unfinished(
    name: str,
    artifact: Artifact,
    work: Work | None,
    known: tuple[RunConfig, EarlierRuns, PlannedNodes | None],
) -> PhaseForecast:
    """Return the forecast of an artifact that is to be made."""
    config, earlier, planned = known
    places = [_place(config, group, planned) for group in phases_of(config, [name])]
    measured = earlier.measured(name, config)
    items = work.items if work else None
    seconds = None if items is None else expected_seconds(items, measured)
    return PhaseForecast(name, None, artifact.exists(), work, places, seconds, measured)


def _place(config: RunConfig, group: str, planned: PlannedNodes | None) -> Place:
    """Return whether the processes of a group of ``resources`` fit on the planned nodes."""
    request = getattr(config.resources, group)
    if planned is None:
        return Place(request_text(request), None)
    shortage = missing_capacity(group, request, planned.nodes)
    return Place(request_text(request), shortage is None, shortage or "")
