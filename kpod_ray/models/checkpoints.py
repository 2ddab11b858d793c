"""Parameters and optimizer state in safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from kpod_ray.artifacts import Store


def save_state(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write ``parameters.safetensors`` and ``optimizer.safetensors``."""
    save_model(module, str(folder / "parameters.safetensors"))
    state = optimizer.state_dict()["state"]
    tensors = {f"{i}/{key}": value for i, entry in state.items() for key, value in entry.items()}
    save_file(tensors, folder / "optimizer.safetensors")


def load_state(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read what `save_state` wrote into a module and an optimizer of the same build."""
    load_model(module, str(folder / "parameters.safetensors"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def upload_module(module: nn.Module, store: Store, path: str) -> None:
    """Write a module's parameters to a file of the store."""
    with tempfile.TemporaryDirectory() as name:
        save_model(module, f"{name}/module.safetensors")
        store.upload(Path(name) / "module.safetensors", path)


def fetch_module(module: nn.Module, store: Store, path: str) -> None:
    """Read what `upload_module` wrote into a module of the same build."""
    with tempfile.TemporaryDirectory() as name:
        store.fetch(path, Path(name) / "module.safetensors")
        load_model(module, f"{name}/module.safetensors")
