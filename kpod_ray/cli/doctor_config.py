"""Compare a config with this machine and its cluster: the second part of ``kpod doctor``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kpod_ray.cli.doctor import CONFIG, Finding
from kpod_ray.cluster.capacity import missing_capacity, nodes_of_cluster, phases_of, request_text
from kpod_ray.cluster.connection import is_started_here, joined
from kpod_ray.cluster.planned_nodes import PlannedNodes
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_comparison, failed_checks
from kpod_ray.pipeline.forecast.forecast import Forecast, forecast
from kpod_ray.pipeline.naming import PHASES, check_storage, name_run
from kpod_ray.sweep.space import check_sweep


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a config needs, and what its run would do."""

    findings: Sequence[Finding]
    """Config, comparison and sweep if the config sets any, inputs that can't be read, cluster, and
    ``resources`` of each phase. An unmet need or an error isn't good; missing capacity on an autoscaling
    cluster is good."""
    forecast: Forecast | None
    """None if the run can't be named, or a manifest of the run is damaged."""


def needs_of(config: RunConfig) -> Needs:
    """Check files, models, storage and capacity for every phase of a config, and forecast its run.

    Nothing is written to the storage. The hub is asked for models, tokenizers and questions. Ray is
    joined or started while the capacity is read; a Ray that was started is ended.
    """
    findings = [Finding(CONFIG, problem, False) for problem in failed_checks(config)]
    opened = _finding(CONFIG, lambda: _opened(config))
    if not findings or not opened[0].is_good:
        findings += opened
    if "comparison" in config.model_fields_set:
        findings += _finding("comparison", lambda: _checked_comparison(config))
    if config.sweep.space:
        findings += _finding("sweep", lambda: _checked_sweep(config))
    capacity, planned = _capacity(config)
    expected = _forecast(config, planned) if opened[0].is_good else None
    problems = expected.problems if expected else []
    findings += [Finding("inputs", problem, False) for problem in problems]
    return Needs([*dict.fromkeys(findings), *capacity], expected)


def _finding(subject: str, check: Callable[[], str | None]) -> list[Finding]:
    """Return the result of a check, or its error, as a finding; no finding for the result None."""
    try:
        text = check()
    except (KpodError, OSError, ValueError) as error:  # transformers raises all sorts for a model
        return [Finding(subject, str(error).partition("\n")[0], False)]
    return [] if text is None else [Finding(subject, text)]


def _opened(config: RunConfig) -> str:
    """Check that the run can be named and its storage be written."""
    check_storage(config.storage)
    name_run(config).store.check_writable()
    return "files, models and storage are there"


def _forecast(config: RunConfig, planned: PlannedNodes | None) -> Forecast | None:
    try:
        return forecast(name_run(config), "report", planned)
    except KpodError:  # a damaged manifest, which is named with the files of the run
        return None


def _checked_comparison(config: RunConfig) -> str:
    check_comparison(config)
    return f"{len(config.comparison.arms)} arms, {config.comparison.num_seeds} seeds"


def _checked_sweep(config: RunConfig) -> str:
    check_sweep(config)
    return f"{len(config.sweep.space)} settings, search {config.sweep.search}"


def _capacity(config: RunConfig) -> tuple[list[Finding], PlannedNodes | None]:
    """Compare the resources of every phase with the cluster that a run would join or start."""
    try:
        is_local = is_started_here()
        with joined(config.resources):
            planned = PlannedNodes(nodes_of_cluster(), is_local)
    except KpodError as error:
        return [Finding("cluster", str(error), False)], None
    grows = ", grows on demand" if config.resources.autoscaling else ""
    findings = [Finding("cluster", planned.text() + grows)]
    for phase in phases_of(config, PHASES):
        request = getattr(config.resources, phase)
        shortage = missing_capacity(phase, request, planned.nodes)
        # an autoscaling cluster may add nodes that aren't there yet
        is_good = shortage is None or config.resources.autoscaling
        text = f"{request_text(request)}; {shortage}" if shortage else request_text(request)
        findings.append(Finding(f"resources.{phase}", text, is_good))
    return findings, planned
