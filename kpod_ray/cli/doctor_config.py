"""Compare a config with this machine and its cluster: the second part of ``kpod doctor``."""

from __future__ import annotations

from collections.abc import Callable

from kpod_ray.cli.doctor import CONFIG, Finding
from kpod_ray.cluster.capacity import missing_capacity, nodes_of_cluster, phases_of, request_text
from kpod_ray.cluster.connection import joined
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_comparison, check_run
from kpod_ray.pipeline.naming import PHASES, checked_run
from kpod_ray.sweep.space import check_sweep
from kpod_ray.teacher.kinds import estimated_cost


def needs_of(config: RunConfig) -> list[Finding]:
    """Check the files, models and storage of a config, its costs, and the capacity for every phase.

    Nothing is written to the storage. The hub is asked for models, and an endpoint's questions are
    loaded. Ray is joined or started while the capacity is read; a Ray that was started is ended.

    Returns:
        The findings: config, comparison and sweep if the config sets any, costs of an endpoint, cluster,
        and ``resources`` of each phase. An unmet
        need or an error is a finding that isn't good; missing capacity on an autoscaling cluster is
        good.
    """
    opened = _finding(CONFIG, lambda: _opened(config))
    if "comparison" in config.model_fields_set:
        opened += _finding("comparison", lambda: _checked_comparison(config))
    if config.sweep.space:
        opened += _finding("sweep", lambda: _checked_sweep(config))
    costs = _finding("teacher's costs", lambda: _costs(config))
    return opened + costs + _capacity(config)


def _finding(subject: str, check: Callable[[], str | None]) -> list[Finding]:
    """Return the result of a check, or its error, as a finding; no finding for the result None."""
    try:
        text = check()
    except (KpodError, OSError, ValueError) as error:  # transformers raises all sorts for a model
        return [Finding(subject, str(error).partition("\n")[0], False)]
    return [] if text is None else [Finding(subject, text)]


def _opened(config: RunConfig) -> str:
    """Check the files, models and storage of a config; an unmet need is an error."""
    check_run(config)
    checked_run(config).store.check_writable()
    return "files, models and storage are there"


def _checked_comparison(config: RunConfig) -> str:
    check_comparison(config)
    return f"{len(config.comparison.arms)} arms, {config.comparison.num_seeds} seeds"


def _checked_sweep(config: RunConfig) -> str:
    check_sweep(config)
    return f"{len(config.sweep.space)} settings, search {config.sweep.search}"


def _costs(config: RunConfig) -> str | None:
    """Return the estimated costs of the teacher's samples; None for a teacher without prices."""
    cost = estimated_cost(config)
    return None if cost is None else f"{cost}, if none is there yet"


def _capacity(config: RunConfig) -> list[Finding]:
    """Compare the resources of every phase with the cluster that a run would join or start."""
    try:
        with joined(config.resources):
            nodes = nodes_of_cluster()
    except KpodError as error:
        return [Finding("cluster", str(error), False)]
    size = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    grows = ", grows on demand" if config.resources.autoscaling else ""
    findings = [Finding("cluster", size + grows)]
    for phase in phases_of(config, PHASES):
        request = getattr(config.resources, phase)
        shortage = missing_capacity(phase, request, nodes)
        # an autoscaling cluster may add nodes that aren't there yet
        is_good = shortage is None or config.resources.autoscaling
        text = f"{request_text(request)}; {shortage}" if shortage else request_text(request)
        findings.append(Finding(f"resources.{phase}", text, is_good))
    return findings
