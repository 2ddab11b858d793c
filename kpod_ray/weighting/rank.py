"""One worker of the token weighter's training under Ray Train, whichever model is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray.train
import torch
import torch.distributed
from ray.train.torch import prepare_model
from torch import Tensor

from kpod_ray.cluster.train_checkpoints import Saved, restore
from kpod_ray.data.sampler import worker_share
from kpod_ray.models.learning_rate import learning_rate_factor
from kpod_ray.models.safetensors_state import upload_module
from kpod_ray.storage.store import Store
from kpod_ray.weighting.job import WeightingJob

MAX_GRAD_NORM = 1.0
"""Largest norm of all gradients together in a train step; larger gradients are scaled down."""
WARMUP = 0.1
"""Fraction of the train steps in which the learning rate rises; afterwards it falls linearly to 0."""


class WeightingRank:
    """The rank of a worker among all workers, and what the workers do together.

    Args:
        job: settings of the training.
        board: handle of the `MetricsBoard` actor.
    """

    def __init__(self, job: WeightingJob, board: Any) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.job = job
        self.board = board
        self.store = Store.open(job.storage)
        self.train_step = 0
        self.warnings = list[str]()

    def share(self, indices: Sequence[int]) -> list[int]:
        """Return this worker's part of the indices of a global batch or of a data set."""
        return worker_share(indices, self.rank, self.num_workers)

    def distributed(self, module: torch.nn.Module) -> Any:
        """Move a module to this worker's device; return it with averaged gradients over the workers."""
        return prepare_model(module)

    def post(self, train_step: int, metrics: dict[str, float]) -> None:
        """Post the metrics of a train step, those of rank 0's share, on the metrics board.

        ``train_step`` is counted over the adaptations and trainings of all weighters.
        """
        self.train_step = train_step
        if self.rank == 0:
            progress = {"train_step": train_step, "num_train_steps": self.job.num_train_steps}
            self.board.post.remote({**metrics, **progress})

    def update(
        self, loss: Tensor, module: Any, optimizer: torch.optim.Optimizer, progress: float
    ) -> None:
        """Take an optimizer step.

        Args:
            loss: this worker's part of the loss of the global batch; the parts are summed.
            module: from `distributed`.
            optimizer: optimizer of the module's parameters, whose groups have their largest learning
                rate as ``largest_lr``.
            progress: fraction of the training that is done, in (0, 1), for the learning rate.
        """
        factor = learning_rate_factor("linear", WARMUP, progress)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["largest_lr"]
        # DDP averages gradients over the workers; the factor turns the mean into a sum.
        (loss * self.num_workers).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of the tensors of all workers, in place."""
        if self.num_workers > 1:
            torch.distributed.all_reduce(values)
        return values

    def agreed(self, is_wanted: bool, device: torch.device) -> bool:
        """Return on all workers whether one of them wants something; a collective operation."""
        return bool(self.summed(torch.tensor(float(is_wanted), device=device)) > 0)

    def wait_for_others(self) -> None:
        """Wait until all workers have called this method."""
        if self.num_workers > 1:
            torch.distributed.barrier()

    def restored(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, part: str
    ) -> Saved | None:
        """Load the newest undamaged checkpoint of a part of the training, if any; keep the warnings."""
        saved, warnings = restore(module, optimizer, self.job.folder, part)
        self.warnings = list(dict.fromkeys([*self.warnings, *warnings]))
        return saved

    def upload(self, module: torch.nn.Module, name: str) -> None:
        """Write a module's parameters to the file ``name`` of the artifact, on rank 0 alone."""
        if self.rank == 0:
            upload_module(module, self.store, self.job.path(name))

    def has(self, name: str) -> bool:
        """Return whether the artifact has the file ``name``."""
        return self.store.exists(self.job.path(name))
