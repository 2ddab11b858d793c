"""What is trained and its optimizer's state in safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

from kpod_ray.artifacts import Store


def save_state(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Write ``parameters.safetensors``, without the frozen ones, and ``optimizer.safetensors``."""
    save_file(_trainable(module), folder / "parameters.safetensors")
    state = optimizer.state_dict()["state"]
    tensors = {f"{i}/{key}": value for i, entry in state.items() for key, value in entry.items()}
    save_file(tensors, folder / "optimizer.safetensors")


def load_state(module: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> None:
    """Read what `save_state` wrote into a module and an optimizer of the same build.

    Raises:
        RuntimeError: The module is of another build.
    """
    saved = load_file(folder / "parameters.safetensors")
    if saved.keys() != _trainable(module).keys():
        raise RuntimeError("the checkpoint's parameters are not those that are trained")
    module.load_state_dict(saved, strict=False)  # not strict: the frozen ones stay
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _trainable(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters with a gradient, tied ones once."""
    named = module.named_parameters()
    return {name: parameter.detach() for name, parameter in named if parameter.requires_grad}


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
