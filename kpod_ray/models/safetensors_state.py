"""What is trained and its optimizer's state in safetensors files; nothing is ever unpickled.

Whole tensors are written, whether workers shard them or not: any number of workers can read them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from kpod_ray.storage.artifacts import Store

_PARAMETERS, _OPTIMIZER = "parameters.safetensors", "optimizer.safetensors"


class DamagedError(Exception):
    """A checkpoint's file is missing, cut off or no safetensors."""


@dataclasses.dataclass(frozen=True)
class State:
    """All that an optimiser update starts from, as whole tensors."""

    parameters: dict[str, Tensor]
    """Those that are trained, by name; tied ones once."""
    optimizer: dict[str, Tensor]
    """By the parameter's number and the name of the state, such as ``0/exp_avg``."""


def state_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return the state of a module and its optimizer; all workers must call it where they shard."""
    entries = optimizer.state_dict()["state"].items()
    return State(
        parameters_of(module),
        {f"{i}/{key}": _whole(value) for i, entry in entries for key, value in entry.items()},
    )


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """Return what is trained as whole tensors; all workers must call it where they shard."""
    return {name: _whole(parameter.detach()) for name, parameter in _trainable(module)}


def write_state(state: State, folder: Path) -> None:
    """Write ``parameters.safetensors`` and ``optimizer.safetensors``."""
    save_file(state.parameters, folder / _PARAMETERS)
    save_file(state.optimizer, folder / _OPTIMIZER)


def read_state(folder: Path) -> State:
    """Read what `write_state` wrote.

    Raises:
        DamagedError: A file is missing or not whole.
    """
    return State(read_tensors(folder / _PARAMETERS), read_tensors(folder / _OPTIMIZER))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        DamagedError: It is missing or not whole.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{file.name}: {error}") from error


def load_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Take up a state in a module and an optimizer of the same build, in place.

    Raises:
        RuntimeError: The module is of another build.
    """
    load_parameters(module, state.parameters)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.optimizer.items():
        index, _, key = name.partition("/")
        value = _like(tensor, parameters[int(index)]) if tensor.dim() else tensor
        entries.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


@torch.no_grad()
def load_parameters(module: nn.Module, parameters: dict[str, Tensor]) -> None:
    """Take up what `parameters_of` returned in a module of the same build, in place.

    Raises:
        RuntimeError: The module is of another build.
    """
    trainable = dict(_trainable(module))
    if _shapes(parameters.items()) != _shapes(trainable.items()):
        raise RuntimeError("the checkpoint's parameters are not those that are trained")
    for name, parameter in trainable.items():
        parameter.copy_(_like(parameters[name], parameter))


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters with a gradient, tied ones once."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def _shapes(named: Iterable[tuple[str, Tensor]]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in named}


def _whole(tensor: Tensor) -> Tensor:
    """Return a tensor that workers may shard as a whole one."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor as the parameter's workers shard it."""
    if not isinstance(parameter, DTensor):
        return tensor
    placed = tensor.to(parameter.device)
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements)


def upload_tensors(tensors: dict[str, Tensor], store: Store, path: str) -> None:
    """Write tensors to a file of the store."""
    with tempfile.TemporaryDirectory() as name:
        save_file(tensors, f"{name}/tensors.safetensors")
        store.upload(Path(name) / "tensors.safetensors", path)


def fetch_tensors(store: Store, path: str) -> dict[str, Tensor]:
    """Read what `upload_tensors` wrote."""
    with tempfile.TemporaryDirectory() as name:
        store.fetch(path, Path(name) / "tensors.safetensors")
        return load_file(f"{name}/tensors.safetensors")


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
