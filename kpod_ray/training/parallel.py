"""Data-parallel training in two forms, and gradient checkpointing.

The student is either replicated on every worker (DDP; Ray Train's ``prepare_model`` wraps it) or sharded
over the workers (FSDP2). `no_sync` and `clip_gradients` hide the difference from the training loop.
"""

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
    """Shard the parameters of a student over the workers with FSDP2, in place.

    Each worker then holds a part of each parameter, gradient and optimizer state. All workers
    (``num_workers``, at least 2, is their number) must call this function once, after the process group
    was initialized and before an optimizer holds the parameters, with the student on its device and
    equal parameters on all workers. Afterwards every forward and backward pass needs all workers.
    """
    device = next(student.parameters()).device
    mesh = init_device_mesh(device.type, (num_workers,))
    for module in list(student.modules()):
        # The base class of the repeated layers in transformers' models: each is gathered by itself.
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=mesh)
    fully_shard(student, mesh=mesh)  # the parameters outside the layers


def is_sharded(module: nn.Module) -> bool:
    """Return whether `shard` was applied to a module, so that every pass needs all workers at once."""
    return isinstance(module, FSDPModule)


@contextlib.contextmanager
def no_sync(module: Any) -> Iterator[None]:
    """Accumulate gradients on this worker, without synchronization, in a backward pass in the block.

    ``module`` is the student, also sharded or wrapped in DDP. The forward pass that belongs to the
    backward pass must be in the block, too. The first forward and backward pass after the block
    synchronizes the accumulated gradients. For a single worker the context does nothing. After an
    exception in the block, a sharded module stays without synchronization.
    """
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
    """Scale all gradients in place so that their common Euclidean norm is at most ``max_norm``.

    ``module`` is the student, also sharded or wrapped in DDP, with synchronized gradients (see
    `no_sync`). If the student is sharded, all workers must call this function. Call it once, after the
    last backward pass of a train step. A ``max_norm`` of infinity leaves the gradients unchanged.

    Returns:
        The norm before clipping, the same on all workers; 0 without gradients. If the norm isn't finite,
        no error is raised, and the gradients are useless afterwards.
    """
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def recompute_layers(language_model: Any) -> None:
    """Turn on gradient checkpointing for each layer of a model in evaluation mode, in place.

    The forward pass then saves only the input of each layer; the backward pass recomputes the layer. The
    flag ``training`` of each layer is set, but not that of the modules in it. A later ``eval`` of the
    model turns gradient checkpointing off; a later ``train`` turns dropout on.

    Raises:
        KpodError: The model doesn't support gradient checkpointing.
    """
    layers = [m for m in language_model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not language_model.supports_gradient_checkpointing or not layers:
        raise KpodError(
            f"a {language_model.config.model_type} model doesn't support gradient checkpointing; "
            "set student.gradient_checkpointing=false"
        )
    language_model.gradient_checkpointing_enable({"use_reentrant": False})
    # transformers checkpoints a layer only in training mode. The modules inside the layer stay in
    # evaluation mode: ``layer.train()`` would turn on their dropout.
    for layer in layers:
        layer.training = True
