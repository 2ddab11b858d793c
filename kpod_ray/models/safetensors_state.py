"""Reading and writing trainable parameters and optimizer state as safetensors files.

Safetensors hold tensors alone, so reading a checkpoint never unpickles (and runs) foreign code. Sharded
parameters (FSDP2) are gathered into whole tensors, so training may resume with another number of
workers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from kpod_ray.storage.scratch import temporary_folder
from kpod_ray.storage.store import Store

_PARAMETERS = "parameters.safetensors"
_OPTIMIZER = "optimizer.safetensors"


class DamagedError(Exception):
    """A file of a checkpoint is missing, unreadable, truncated or not in the expected format."""


@dataclasses.dataclass(frozen=True)
class State:
    """The trainable parameters and the optimizer state of a training, as whole tensors."""

    parameters: dict[str, Tensor]
    """Trainable parameters by name, no frozen parameters or buffers; tied parameters occur once."""
    optimizer: dict[str, Tensor]
    """Optimizer state by name: the number of the parameter in the optimizer, from 0, a slash and the
    name of the state, such as ``0/exp_avg``. Settings such as the learning rate are left out."""


def state_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return the trainable parameters of a module and the state of its optimizer.

    If the module is sharded, all workers must call this function together (gathering is collective), and
    each gets whole tensors, copied to the CPU. The tensors of an unsharded module, and scalars such as
    AdamW's step count, share memory with module and optimizer and change with the next update.
    """
    entries = optimizer.state_dict()["state"].items()
    return State(
        parameters_of(module),
        {f"{i}/{key}": _whole(value) for i, entry in entries for key, value in entry.items()},
    )


def parameters_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the trainable parameters of a module by name, as whole tensors without gradients.

    Of tied parameters one is returned. If the module is sharded, all workers must call this function
    together (gathering is collective), and each gets whole tensors, copied to the CPU. The tensors of an
    unsharded module share memory with the module and change with the next update.
    """
    return {name: _whole(parameter.detach()) for name, parameter in _trainable(module)}


def write_state(state: State, folder: Path) -> None:
    """Write a state into a folder as ``parameters.safetensors`` and ``optimizer.safetensors``.

    Existing files are overwritten, and the writes aren't atomic. Of several workers, only one should
    call this function.

    Args:
        state: contiguous tensors on any device; within ``parameters``, and within ``optimizer``, no two
            tensors share memory.
        folder: an existing local folder.

    Raises:
        ValueError: A tensor isn't contiguous.
        RuntimeError: Two tensors share memory.
        SafetensorError: The folder doesn't exist.
    """
    save_file(state.parameters, folder / _PARAMETERS)
    save_file(state.optimizer, folder / _OPTIMIZER)


def read_state(folder: Path) -> State:
    """Read the state that `write_state` wrote into a folder; the tensors are on the CPU.

    Raises:
        DamagedError: A file is missing, unreadable, truncated or not in the safetensors format.
    """
    return State(read_tensors(folder / _PARAMETERS), read_tensors(folder / _OPTIMIZER))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; return the tensors by name, on the CPU.

    Raises:
        DamagedError: The file is missing, unreadable, truncated or not in the safetensors format.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{file.name}: {error}") from error


def load_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Load a state into a module and an optimizer, in place.

    Frozen parameters, buffers and the optimizer's settings, such as the learning rate, stay as they are.
    The optimizer's state is replaced, and may share memory with ``state``. If the module is sharded, all
    workers must call this function together with the same state.

    Args:
        module: module with the trainable parameters of the state.
        optimizer: optimizer of the module, with its parameters in the same order as when the state was
            taken, which isn't checked.
        state: whole tensors, from `state_of` or `read_state`.

    Raises:
        RuntimeError: The names or shapes of the state's parameters differ from the module's trainable
            ones. Nothing is changed.
    """
    load_parameters(module, state.parameters)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.optimizer.items():
        index, _, key = name.partition("/")
        # A scalar, such as AdamW's step count, is never sharded.
        value = _like(tensor, parameters[int(index)]) if tensor.dim() else tensor
        entries.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


@torch.no_grad()
def load_parameters(module: nn.Module, parameters: dict[str, Tensor]) -> None:
    """Copy parameters into a module, in place; frozen parameters and buffers stay as they are.

    If the module is sharded, all workers must call this function together with the same parameters.

    Args:
        module: the module, on any device.
        parameters: whole tensors by name, from `parameters_of`, on any device; values are cast to the
            module's types.

    Raises:
        RuntimeError: The names or shapes of the parameters differ from the module's trainable ones.
            Nothing is changed.
    """
    trainable = dict(_trainable(module))
    if _shapes(parameters.items()) != _shapes(trainable.items()):
        raise RuntimeError("the checkpoint's parameters are not those that are trained")
    for name, parameter in trainable.items():
        parameter.copy_(_like(parameters[name], parameter))


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the names and parameters that require a gradient; tied parameters occur once."""
    return [(name, p) for name, p in module.named_parameters() if p.requires_grad]


def _shapes(named: Iterable[tuple[str, Tensor]]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in named}


def _whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor into a whole one on the CPU; return any other tensor unchanged."""
    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def _like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a whole tensor, sharded over the workers if the parameter is, and in the same way."""
    if not isinstance(parameter, DTensor):
        return tensor
    placed = tensor.to(parameter.device)
    return distribute_tensor(placed, parameter.device_mesh, parameter.placements)


def upload_tensors(tensors: dict[str, Tensor], store: Store, path: str) -> None:
    """Write tensors by name to a safetensors file of the store; see `Store.upload`.

    An existing file is replaced. Of several workers, only one should call this function.

    Args:
        tensors: contiguous tensors on any device that don't share memory with each other.
        store: the store.
        path: path of the file relative to the store's root.

    Raises:
        ValueError: A tensor isn't contiguous.
        RuntimeError: Two tensors share memory.
        OSError: The store fails.
    """
    with temporary_folder() as folder:
        save_file(tensors, folder / "tensors.safetensors")
        store.upload(folder / "tensors.safetensors", path)


def fetch_tensors(store: Store, path: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file of the store by name, on the CPU.

    Args:
        store: the store.
        path: path of the file relative to the store's root.

    Raises:
        FileNotFoundError: The file doesn't exist.
        SafetensorError: The file is truncated or not in the safetensors format.
        OSError: The store fails.
    """
    with temporary_folder() as folder:
        store.fetch(path, folder / "tensors.safetensors")
        return load_file(folder / "tensors.safetensors")


def upload_module(module: nn.Module, store: Store, path: str) -> None:
    """Write a module's parameters, frozen ones too, and persistent buffers to a file of the store.

    The file is in the safetensors format and replaces an existing file; see `Store.upload`. Of several
    workers, only one should call this function.

    Args:
        module: the module, on any device, not sharded; tied parameters are written once.
        store: the store.
        path: path of the file relative to the store's root.

    Raises:
        OSError: The store fails.
    """
    with temporary_folder() as folder:
        save_model(module, folder / "module.safetensors")
        store.upload(folder / "module.safetensors", path)


def fetch_module(module: nn.Module, store: Store, path: str) -> None:
    """Load into a module, in place, a file that `upload_module` wrote to the store.

    Args:
        module: the module, on any device, not sharded.
        store: the store.
        path: path of the file relative to the store's root.

    Raises:
        FileNotFoundError: The file doesn't exist.
        RuntimeError: The names or shapes in the file differ from the module's. Values of matching names
            may be loaded already.
        SafetensorError: The file is truncated or not in the safetensors format.
        OSError: The store fails.
    """
    with temporary_folder() as folder:
        store.fetch(path, folder / "module.safetensors")
        load_model(module, folder / "module.safetensors")
