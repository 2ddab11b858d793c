"""Checkpoints of a training under Ray Train: which are kept, and how they are written and read.

Rank 0 writes a checkpoint, every worker reads it. If the newest checkpoint is damaged, the one before is
used.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    CheckpointConsistencyMode,
    CheckpointUploadMode,
)
from safetensors.torch import save_file
from torch import Tensor, nn

from kpod_ray.config import CheckpointsConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.safetensors_state import (
    DamagedError,
    State,
    load_state,
    read_state,
    read_tensors,
    state_of,
    write_state,
)
from kpod_ray.storage.scratch import make_folder

_PROGRESS = "progress.json"
_TENSORS = "further.safetensors"


@dataclasses.dataclass(frozen=True)
class Saved:
    """The content of a checkpoint beside the parameters and the optimizer state."""

    owner: str
    """Folder of the artifact that the training makes."""
    progress: dict[str, Any]
    """Position of the training, such as stage and train step, as values that JSON can hold."""
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Further state of the training, by name; contiguous tensors that share no memory, on the CPU after
    `restore`."""
    part: str = ""
    """Part of a training that trains several models in turn."""


def kept_checkpoints(checkpoints: CheckpointsConfig) -> CheckpointConfig:
    """Return Ray Train's setting to keep only the newest ``keep_last`` checkpoints of a training."""
    return CheckpointConfig(num_to_keep=checkpoints.keep_last)


def save(module: nn.Module, optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    """Write a checkpoint and report it to Ray Train, which uploads the checkpoint in the background.

    Every worker of Ray Train must call `save` at the same train step, after its optimizer step:
    collecting sharded state and reporting are collective operations. Rank 0 alone writes, to a temporary
    folder of its machine. The checkpoint is safe only after `wait_until_saved`.

    Args:
        module: model whose trainable parameters are saved; frozen parameters and buffers aren't. The
            parameters must be contiguous and, except tied ones, must not share memory.
        optimizer: optimizer of these parameters, whose state is saved.
        saved: further content; the argument of rank 0 is written. Its tensors must be contiguous and
            must not share memory with each other.

    Raises:
        ValueError: A tensor isn't contiguous (on rank 0).
        RuntimeError: Tensors share memory (on rank 0), or the caller is no worker of Ray Train.
        TypeError: ``saved.progress`` can't be written as JSON (on rank 0).
    """
    state = state_of(module, optimizer)
    checkpoint = None
    if ray.train.get_context().get_world_rank() == 0:
        folder = make_folder()
        write_state(state, folder)
        save_file(saved.tensors, folder / _TENSORS)
        text = json.dumps({"owner": saved.owner, "progress": saved.progress, "part": saved.part})
        (folder / _PROGRESS).write_text(text)
        checkpoint = Checkpoint.from_directory(str(folder))
    ray.train.report(
        {},
        checkpoint=checkpoint,
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        delete_local_checkpoint_after_upload=True,
    )


def wait_until_saved() -> None:
    """Wait until every reported checkpoint is committed to the storage.

    Every worker of Ray Train must call this function after the last `save`: a checkpoint that isn't
    committed yet is lost when its worker dies.
    """
    ray.train.get_all_reported_checkpoints(consistency_mode=CheckpointConsistencyMode.COMMITTED)


def restore(
    module: nn.Module, optimizer: torch.optim.Optimizer, owner: str, part: str = ""
) -> tuple[Saved | None, list[str]]:
    """Load the newest undamaged checkpoint of this training into a module and an optimizer.

    Every worker of Ray Train calls `restore` before the first step of this optimizer, and all load the
    same checkpoint.

    Args:
        module: gets the trainable parameters of the checkpoint, in place; all else stays.
        optimizer: gets the optimizer state of the checkpoint, in place; learning rates stay.
        owner: folder of the artifact that the training makes, as in `Saved.owner`.
        part: part of the training, as in `Saved.part`; checkpoints of an earlier part are left alone.

    Returns:
        The further content of the checkpoint, or None if there is no undamaged checkpoint, in which case
        module and optimizer are unchanged; and one line for each damaged checkpoint that was skipped,
        the newest first.

    Raises:
        KpodError: The newest undamaged checkpoint belongs to another artifact, whose settings differ.
        RuntimeError: Names or shapes of the checkpoint's parameters differ from the module's trainable
            ones, or the caller is no worker of Ray Train.
    """
    damages = list[str]()
    for reported in reversed(ray.train.get_all_reported_checkpoints()):
        with reported.checkpoint.as_directory() as folder:
            try:
                saved, state = _read(Path(folder))
            except DamagedError as error:
                name = Path(reported.checkpoint.path).name
                damages.append(f"{name} is damaged ({error}), the one before it was used")
                continue
        if saved.owner != owner:
            raise KpodError(
                f"the checkpoints in {owner}/fit are of {saved.owner}, which has other settings; "
                f"delete {owner}/fit"
            )
        if saved.part != part:
            break
        load_state(module, optimizer, state)
        return saved, damages
    return None, damages


def _read(folder: Path) -> tuple[Saved, State]:
    try:
        saved = json.loads((folder / _PROGRESS).read_text())
    except (OSError, ValueError) as error:
        raise DamagedError(f"{_PROGRESS}: {error}") from error
    return Saved(**saved, tensors=read_tensors(folder / _TENSORS)), read_state(folder)
