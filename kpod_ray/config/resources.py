"""What the phases take from a machine or a cluster; nothing in here changes a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from kpod_ray.config.base import Config

LabelValue = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
]
"""What Ray takes as the value of a node's label."""


class Placement(Config):
    """On which machines of a cluster a phase may run."""

    accelerator_type: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$")
    """Accelerator of the machines, such as ``A100``, by Ray's name; None takes any."""
    labels: dict[str, LabelValue] = Field(default_factory=dict)
    """Labels that the machines must have, such as ``{group: teacher}``: those of ``ray start
    --labels``."""


class ActorResources(Placement):
    """What one pool of actors takes from the cluster; never changes a result, so never fingerprinted."""

    num_actors: int = Field(1, ge=1)
    """Actors in the pool."""
    max_actors: int | None = Field(None, ge=1)
    """Actors that the pool may grow to while rows wait and the cluster has room; None: it stays."""
    num_cpus: float = Field(1, gt=0)
    """Logical CPUs of one actor."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of one actor."""
    num_threads: int | None = Field(None, ge=1)
    """CPU threads of one actor; None takes its share of the machine's cores."""
    rows_per_block: int = Field(32, ge=1)
    """Rows that an actor gets at a time. A crash costs each actor at most these, or one batch if that
    is larger."""

    @model_validator(mode="after")
    def _check_actors(self) -> ActorResources:
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError("max_actors is smaller than num_actors")
        return self


def check_parallel(resources: ActorResources, engine: Mapping[str, Any]) -> None:
    """Check that an engine's parallel sizes are those of the GPUs it gets.

    Raises:
        ValueError: They aren't.
    """
    num_gpus = resources.num_gpus
    stages = engine.get("pipeline_parallel_size", 1)
    per_stage = engine.get("tensor_parallel_size", max(1, num_gpus // stages))
    if num_gpus and per_stage * stages != max(1, num_gpus):
        raise ValueError(
            f"num_gpus={num_gpus:g} is not tensor_parallel_size {per_stage:g} times "
            f"pipeline_parallel_size {stages:g}; leave tensor_parallel_size out to use all GPUs"
        )


class WorkerResources(Placement):
    """What the workers of one training take from the cluster."""

    num_workers: int = Field(1, ge=1)
    """Worker processes."""
    min_workers: int | None = Field(None, ge=1)
    """Fewest workers to go on with while the cluster has no room for all, from the last checkpoint on;
    None always waits for all."""
    num_cpus: float = Field(1, gt=0)
    """Logical CPUs of one worker."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of one worker."""
    num_threads: int | None = Field(None, ge=1)
    """CPU threads of one worker; None takes its share of the machine's cores."""
    max_failures: int = Field(3, ge=0)
    """Worker deaths that are survived before the phase fails."""
    num_checkpoints: int = Field(2, ge=1)
    """Checkpoints that are kept while the phase runs; a damaged one gives way to the one before."""

    @model_validator(mode="after")
    def _check_workers(self) -> WorkerResources:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError("min_workers is larger than num_workers")
        return self


class StudentWorkerResources(WorkerResources):
    """What the workers of the student's training take."""

    num_workers: int = Field(2, ge=1)
    """Worker processes."""
    sharding: bool = False
    """Whether each worker holds a part of the parameters, gradients and optimizer state (FSDP2), instead
    of all."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Train steps after which a checkpoint is saved inside a stage, too; None: at the end of each."""


class ResourcesConfig(Config):
    """Where the phases run. Nothing in here changes a result."""

    local_cpus: int | None = Field(None, ge=1)
    """Logical CPUs of a Ray started on this machine; None: the cores, and at least 4."""
    object_store_gib: float = Field(1.0, gt=0)
    """Object store of a Ray started on this machine, in GiB."""
    autoscaling: bool = False
    """Whether the cluster grows on demand: what it has no room for yet is waited for, with a warning."""
    teacher: ActorResources = ActorResources()
    """The teacher's engines."""
    weighting: WorkerResources = WorkerResources()
    """Training of the weighter."""
    apply_weighter: ActorResources = ActorResources()
    """The weighter applied to all rationales."""
    assess: ActorResources = ActorResources()
    """Measuring step difficulty."""
    train: StudentWorkerResources = StudentWorkerResources()
    """Training of the student."""
    evaluate: ActorResources = ActorResources()
    """The student's engines."""
