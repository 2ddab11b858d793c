"""Checkpoints of a training under Ray Train: rank 0 writes them, every worker reads them.

A checkpoint that is damaged gives way to the one before it.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint, CheckpointConsistencyMode, CheckpointUploadMode
from safetensors.torch import save_file
from torch import Tensor, nn

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

_PROGRESS, _FURTHER = "progress.json", "further.safetensors"


@dataclasses.dataclass(frozen=True)
class Saved:
    """What a checkpoint holds beside parameters and optimizer."""

    owner: str
    """Folder of the artifact that it is a part of."""
    progress: dict[str, Any]
    """Where the training was; plain values."""
    tensors: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """Whatever else goes on from where it was."""


def save(module: nn.Module, optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    """Report a checkpoint to Ray Train; every worker calls it at the same point.

    It is copied to the storage in the background.
    """
    state, checkpoint = state_of(module, optimizer), None
    if ray.train.get_context().get_world_rank() == 0:
        folder = Path(tempfile.mkdtemp(prefix="kpod-checkpoint-"))
        write_state(state, folder)
        save_file(saved.tensors, folder / _FURTHER)
        text = json.dumps({"owner": saved.owner, "progress": saved.progress})
        (folder / _PROGRESS).write_text(text)
        checkpoint = Checkpoint.from_directory(str(folder))
    ray.train.report(
        {},
        checkpoint=checkpoint,
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        delete_local_checkpoint_after_upload=True,
    )


def wait_until_saved() -> None:
    """Wait until every checkpoint is final: one that isn't would be lost with its worker."""
    ray.train.get_all_reported_checkpoints(consistency_mode=CheckpointConsistencyMode.COMMITTED)


def restore(
    module: nn.Module, optimizer: torch.optim.Optimizer, owner: str
) -> tuple[Saved | None, list[str]]:
    """Take up the newest checkpoint that is whole; alike on all workers.

    Returns:
        What it holds beside the state, None without one, and a line about each that is damaged.

    Raises:
        KpodError: It is of another artifact, which has other settings.
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
        load_state(module, optimizer, state)
        return saved, damages
    return None, damages


def _read(folder: Path) -> tuple[Saved, State]:
    try:
        saved = json.loads((folder / _PROGRESS).read_text())
    except (OSError, ValueError) as error:
        raise DamagedError(f"{_PROGRESS}: {error}") from error
    return Saved(**saved, tensors=read_tensors(folder / _FURTHER)), read_state(folder)
