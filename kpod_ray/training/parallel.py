"""The student spread over the workers, or whole on each of them; gradients add up either way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from kpod_ray.errors import KpodError


def shard(student: nn.Module, num_workers: int) -> None:
    """Give every worker a part of each parameter, its gradient and optimizer state (FSDP2), in place.

    A layer is whole on a worker only while it is computed. All workers must call it.
    """
    device = next(student.parameters()).device
    mesh = init_device_mesh(device.type, (num_workers,))
    for module in list(student.modules()):
        if isinstance(module, GradientCheckpointingLayer):  # the layers of transformers' models
            fully_shard(module, mesh=mesh)
    fully_shard(student, mesh=mesh)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was applied to a module: then every pass through it needs all workers."""
    return isinstance(module, FSDPModule)


@contextlib.contextmanager
def no_sync(module: Any) -> Iterator[None]:
    """Keep a backward pass's gradients on this worker, to be added up with a later one's."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    elif is_sharded(module):
        module.set_requires_gradient_sync(False)
        yield
        module.set_requires_gradient_sync(True)
    else:
        yield


def clip_gradients(module: nn.Module, max_norm: float) -> float:
    """Scale all gradients down to a common norm; return the norm they had, on all workers alike."""
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def recompute_layers(language_model: Any) -> None:
    """Keep only what enters each layer (gradient checkpointing), in place.

    A layer does so in training mode alone. What is inside it stays in evaluation mode, so that nothing
    becomes random.

    Raises:
        KpodError: The model can't.
    """
    layers = [m for m in language_model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not language_model.supports_gradient_checkpointing or not layers:
        raise KpodError(
            f"a {language_model.config.model_type} model can't compute its layers again; "
            "set student.gradient_checkpointing=false"
        )
    language_model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in layers:
        layer.training = True
