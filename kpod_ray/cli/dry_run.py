"""``kpod run --dry-run``: what a run lacks and what it will do, before anything is started."""

from __future__ import annotations

from kpod_ray.cli.forecast import print_forecast
from kpod_ray.cli.signals import POSITION
from kpod_ray.cli.terminal import Terminal
from kpod_ray.cluster.planned_nodes import PlannedNodes, planned_nodes
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import failed_checks
from kpod_ray.pipeline.forecast.forecast import Forecast, forecast
from kpod_ray.pipeline.naming import PHASES, Run, check_storage, name_run


def dry_run(config: RunConfig, until: str, console: Terminal) -> bool:
    """Print what a run lacks and what its phases would do; return whether it lacks nothing.

    Nothing is written to the storage, and Ray isn't started; a cluster that runs is joined for a moment.
    Missing resources on an autoscaling cluster aren't counted as lacking. ``until`` is the last phase,
    one of `PHASES`.
    """
    POSITION.makes_files = False
    lacking = failed_checks(config, PHASES[: PHASES.index(until) + 1])
    run = _named(config, lacking)
    planned = _planned(config, lacking)
    expected = None if run is None else _expected(run, until, planned, lacking)
    console.write_line(f"dry run of {config.name}: nothing is started, nothing is written")
    if planned is not None:
        console.write_line(f"nodes: {planned.text()}")
    if expected is not None:
        lacking += expected.problems
        if not config.resources.autoscaling:
            lacking += shortages(expected)
    for problem in dict.fromkeys(lacking):
        console.write_line(("missing", "red"), f" {problem}")
    if expected is not None:
        print_forecast(expected, console)
    return not lacking


def shortages(expected: Forecast) -> list[str]:
    """Return what the nodes lack for the phases of a forecast, each in one line."""
    return [place.shortage for phase in expected.phases for place in phase.places if place.shortage]


def _named(config: RunConfig, lacking: list[str]) -> Run | None:
    """Return the named run; None, with an entry in ``lacking``, if it can't be named or stored."""
    try:
        check_storage(config.storage)
        run = name_run(config)
        run.store.check_writable()
    except KpodError as error:
        lacking.append(str(error))
        return None
    return run


def _planned(config: RunConfig, lacking: list[str]) -> PlannedNodes | None:
    """Return the nodes of a run; None, with an entry in ``lacking``, if the cluster doesn't answer."""
    try:
        return planned_nodes(config.resources)
    except KpodError as error:
        lacking.append(str(error))
        return None


def _expected(
    run: Run, until: str, planned: PlannedNodes | None, lacking: list[str]
) -> Forecast | None:
    """Return the forecast; None, with an entry in ``lacking``, if a manifest is damaged."""
    try:
        return forecast(run, until, planned)
    except KpodError as error:
        lacking.append(str(error))
        return None
