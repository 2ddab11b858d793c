"""Run a training function on Ray Train workers, with checkpoints in the folder of an artifact."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray.cluster import placement, process_group
from kpod_ray.cluster.connection import NUM_START_RETRIES
from kpod_ray.cluster.departure import LEFT
from kpod_ray.cluster.placement import CPU_ENVIRONMENT, threads_of
from kpod_ray.cluster.train_checkpoints import kept_checkpoints
from kpod_ray.config import WorkerResources
from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact


def fit(
    loop: Callable[[dict[str, Any]], dict[str, Any]],
    loop_config: dict[str, Any],
    resources: WorkerResources,
    artifact: Artifact,
) -> dict[str, Any]:
    """Run a training function on Ray Train workers and return the result of rank 0.

    Ray must be connected; the call returns when the training has ended. Ray Train keeps the checkpoints
    in the folder ``fit`` of the artifact, also for a later call with the same artifact.

    Args:
        loop: the training function. Every worker calls ``loop(loop_config)``, again after a failure and
            after a result of `Departure.leave`. The function must restore the last checkpoint itself
            (see `train_checkpoints.restore`) and report its node to the board (`MetricsBoard.arrive`).
            Instead of raising a `KpodError`, after which Ray Train would call it again, the function
            returns the message as ``error``.
        loop_config: values that Ray can serialize; ``board`` must be the handle of a `MetricsBoard`
            actor.
        resources: number, size and placement of the workers, retries, checkpoints to keep.
        artifact: the artifact that the training makes.

    Returns:
        The mapping that the training function returned on rank 0, with the entry ``nodes`` added: the
        set of Ray node ids that were reported to the board.

    Raises:
        KpodError: The training function returned ``error`` on rank 0.
        TrainingFailedError: The training failed more often than ``resources.max_failures`` allows, or
            the workers didn't start in time after all retries. A `KpodError` of the training function is
            inside this error, too; `failures.explained` finds it.
    """
    while LEFT in (returned := _trainer(loop, loop_config, resources, artifact).fit().return_value):
        pass  # the workers that left have saved a checkpoint, from which others go on
    if "error" in returned:
        raise KpodError(returned["error"])
    nodes = ray.get(loop_config["board"].seen_nodes.remote())
    return {**returned, "nodes": nodes}


def _trainer(
    loop: Callable[[dict[str, Any]], dict[str, Any]],
    loop_config: dict[str, Any],
    resources: WorkerResources,
    artifact: Artifact,
) -> TorchTrainer:
    return TorchTrainer(
        loop,
        train_loop_config=loop_config,
        torch_config=process_group.config(),
        scaling_config=_scaling(resources),
        run_config=RunConfig(
            name="fit",
            storage_path=artifact.path,
            storage_filesystem=artifact.store.filesystem,
            # Ray Train counts workers that don't start in time as failures of its controller.
            failure_config=FailureConfig(
                max_failures=resources.max_failures, controller_failure_limit=NUM_START_RETRIES
            ),
            checkpoint_config=kept_checkpoints(resources.checkpoints),
            worker_runtime_env={"env_vars": _environment(resources)},
        ),
    )


def _scaling(resources: WorkerResources) -> ScalingConfig:
    """Return number, size and placement of the workers; a range of numbers if training is elastic."""
    num_workers = resources.num_workers
    min_workers = resources.min_workers
    resources_per_worker = {"CPU": resources.num_cpus}
    if resources.num_gpus:
        resources_per_worker["GPU"] = resources.num_gpus
    return ScalingConfig(
        num_workers=(min_workers, num_workers) if min_workers else num_workers,
        use_gpu=resources.num_gpus > 0,
        resources_per_worker=resources_per_worker,
        **placement.options(resources),
    )


def _environment(resources: WorkerResources) -> dict[str, str]:
    """Return the environment variables of a worker, which must be set before torch is imported."""
    environment = {"OMP_NUM_THREADS": str(threads_of(resources))}
    if not resources.num_gpus:
        environment |= {
            name: os.environ.get(name, CPU_ENVIRONMENT[name]) for name in CPU_ENVIRONMENT
        }
    return environment
