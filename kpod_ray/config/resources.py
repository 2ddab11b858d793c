"""Settings of machines, processors and processes. These settings change no result of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from kpod_ray.config.base import Config
from kpod_ray.config.checkpoints import CheckpointsConfig, StudentCheckpointsConfig

LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=128
    ),
]
"""Key of a node label that Ray accepts."""
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=63)
]
"""Value of a node label that Ray accepts."""


def _checked_gpus(num_gpus: float) -> float:
    if (0 < num_gpus < 0.001) or (num_gpus > 1 and num_gpus != int(num_gpus)):
        raise ValueError(
            "Ray divides no GPU but one; give a fraction from 0.001 to 1, or a whole number"
        )
    return num_gpus


Gpus = Annotated[float, Field(ge=0, le=10_000), AfterValidator(_checked_gpus)]


class Placement(Config):
    """The nodes of a cluster on which a phase may run."""

    accelerator_type: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]+$")
    """Ray's name of the accelerator that a node must have, such as ``A100``; None allows all nodes."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels that a node must have (``ray start --labels``), such as ``{group: teacher}``."""


class ActorResources(Placement):
    """Resources of one pool of actors."""

    num_actors: int = Field(1, ge=1, le=100_000)
    """Number of actors in the pool."""
    max_actors: int | None = Field(None, ge=1, le=100_000)
    """Number of actors up to which the pool grows while rows wait and the cluster has free resources;
    None keeps the pool at ``num_actors``. Only a teacher of kind ``vllm`` and an evaluation
    with vLLM use this setting."""
    num_cpus: float = Field(1, ge=0.001, le=100_000)
    """Logical CPUs of one actor."""
    num_gpus: Gpus = 0
    """GPUs of one actor."""
    num_threads: int | None = Field(None, ge=1, le=10_000)
    """CPU threads of one actor; None divides the machine's cores by the number of actors."""
    rows_per_block: int = Field(32, ge=1, le=1_000_000)
    """Rows that an actor gets at a time. After a crash, at most this number of rows of each actor (or
    one batch, if larger) is computed again."""

    @property
    def most_actors(self) -> int:
        """Largest number of actors that the pool can have."""
        return self.max_actors or self.num_actors

    @model_validator(mode="after")
    def _check_actors(self) -> ActorResources:
        if self.max_actors is not None and self.max_actors < self.num_actors:
            raise ValueError("max_actors is smaller than num_actors")
        return self


def check_parallel(resources: ActorResources, engine: Mapping[str, Any]) -> None:
    """Check that a vLLM engine uses exactly the GPUs of its actor; without GPUs, nothing is checked.

    The arguments ``tensor_parallel_size`` and ``pipeline_parallel_size`` of ``engine``, whole numbers of
    at least 1, are read. Without ``tensor_parallel_size``, the GPUs are divided equally among the
    pipeline stages. A fraction below 1 of a GPU counts as one GPU.

    Raises:
        ValueError: The product of the two sizes is not the number of GPUs.
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
    """Resources of the workers of one training."""

    num_workers: int = Field(1, ge=1, le=100_000)
    """Number of worker processes."""
    min_workers: int | None = Field(None, ge=1)
    """Fewest workers with which training continues, from the last checkpoint, while the cluster lacks
    resources for ``num_workers``; None waits until all workers fit."""
    num_cpus: float = Field(1, ge=0.001, le=100_000)
    """Logical CPUs of one worker."""
    num_gpus: Gpus = 0
    """GPUs of one worker."""
    num_threads: int | None = Field(None, ge=1, le=10_000)
    """CPU threads of one worker; None divides the machine's cores by the number of workers."""
    max_failures: int = Field(3, ge=0, le=1_000_000)
    """Number of worker failures after which training is resumed; one more fails the phase."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """Checkpoints of the training."""

    @model_validator(mode="after")
    def _check_workers(self) -> WorkerResources:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError("min_workers is larger than num_workers")
        return self


class StudentWorkerResources(WorkerResources):
    """Resources of the workers of the student's training."""

    num_workers: int = Field(2, ge=1, le=100_000)
    """Number of worker processes."""
    sharding: bool = False
    """Whether parameters, gradients and optimizer state are sharded across the workers (FSDP2);
    ``false`` replicates all of these on every worker."""
    checkpoints: StudentCheckpointsConfig = StudentCheckpointsConfig()
    """Checkpoints of the student's training."""


class ResourcesConfig(Config):
    """Machines, processors and processes of the phases. These settings change no result."""

    local_cpus: int | None = Field(None, ge=1, le=10_000)
    """Logical CPUs of a Ray cluster that is started on this machine; None is the number of cores, at
    least 4."""
    object_store_gib: float = Field(1.0, ge=0.1, le=1_000_000)
    """Size in GiB of the object store of a Ray cluster that is started on this machine."""
    autoscaling: bool = False
    """Whether the cluster adds nodes on demand. With ``true``, a phase that doesn't fit on the current
    nodes waits, with a warning; with ``false``, the phase fails."""
    teacher: ActorResources = ActorResources()
    """Actors that generate the teacher's rationales."""
    weighting: WorkerResources = WorkerResources()
    """Workers that train the token weighter."""
    apply_weighter: ActorResources = ActorResources()
    """Actors that compute the token weights of all rationales."""
    assess: ActorResources = ActorResources()
    """Actors that measure step difficulties."""
    train: StudentWorkerResources = StudentWorkerResources()
    """Workers that train the student."""
    evaluate: ActorResources = ActorResources()
    """Actors that generate the student's answers."""
