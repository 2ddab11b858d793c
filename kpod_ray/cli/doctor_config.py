"""What a config needs and this machine or its cluster lacks: the second part of ``kpod doctor``."""

from __future__ import annotations

from collections.abc import Callable

from kpod_ray.cli.doctor import Finding
from kpod_ray.cluster.capacity import lack, nodes_of_cluster, phases_of, spelt
from kpod_ray.cluster.connection import joined
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import PHASES, open_run
from kpod_ray.teacher.kinds import estimated_cost


def needs_of(config: RunConfig) -> list[Finding]:
    """Return what a config needs: files, models, storage, money, nodes with room for every phase."""
    opened = _tried("config", lambda: _opened(config))
    costs = _tried("teacher's costs", lambda: _costs(config))
    return opened + costs + _room(config)


def _tried(subject: str, attempt: Callable[[], str | None]) -> list[Finding]:
    """Return what an attempt says or why it fails; no finding where it has nothing to say."""
    try:
        text = attempt()
    except KpodError as error:
        return [Finding(subject, str(error), False)]
    return [] if text is None else [Finding(subject, text)]


def _opened(config: RunConfig) -> str:
    open_run(config)
    return "files, models and storage are there"


def _costs(config: RunConfig) -> str | None:
    cost = estimated_cost(config)
    return None if cost is None else f"{cost}, if none is there yet"


def _room(config: RunConfig) -> list[Finding]:
    """Compare every phase with the cluster that a run would join, or start on this machine."""
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
        told = lack(phase, request, nodes)
        is_good = told is None or config.resources.autoscaling
        text = f"{spelt(request)}; {told}" if told else spelt(request)
        findings.append(Finding(f"resources.{phase}", text, is_good))
    return findings
