"""Phase ``train``: the student, one ``fit`` over all stages, each decided by the scheduler actor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray.cluster import placement
from kpod_ray.cluster.connection import NUM_START_RETRIES
from kpod_ray.cluster.placement import CPU_ENVIRONMENT, threads_of
from kpod_ray.config import WorkerResources
from kpod_ray.storage.artifacts import Artifact


def fit(
    loop: Callable[[dict[str, Any]], dict[str, Any]],
    loop_config: dict[str, Any],
    resources: WorkerResources,
    artifact: Artifact,
) -> dict[str, Any]:
    """Run a training loop under Ray Train inside an artifact; a killed one is taken up again.

    Args:
        loop: what a worker does.
        loop_config: what it is given; the ``board`` in it hears where the workers are.
        resources: how many workers, of what size, where.
        artifact: gets the checkpoints.

    Returns:
        What the first worker returned, and ``nodes``, the ids of the workers' nodes.
    """
    environment = {"OMP_NUM_THREADS": str(threads_of(resources))}
    if not resources.num_gpus:
        environment |= {
            name: os.environ.get(name, CPU_ENVIRONMENT[name]) for name in CPU_ENVIRONMENT
        }
    wanted = {"CPU": resources.num_cpus}
    num_workers, min_workers = resources.num_workers, resources.min_workers
    if resources.num_gpus:
        wanted["GPU"] = resources.num_gpus
    result = TorchTrainer(
        loop,
        train_loop_config=loop_config,
        scaling_config=ScalingConfig(
            num_workers=(min_workers, num_workers) if min_workers else num_workers,
            use_gpu=resources.num_gpus > 0,
            resources_per_worker=wanted,
            **placement.options(resources),
        ),
        run_config=RunConfig(
            name="fit",
            storage_path=artifact.path,
            storage_filesystem=artifact.store.filesystem,
            failure_config=FailureConfig(
                max_failures=resources.max_failures, controller_failure_limit=NUM_START_RETRIES
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=resources.num_checkpoints),
            worker_runtime_env={"env_vars": environment},
        ),
    ).fit()
    nodes = ray.get(loop_config["board"].seen_nodes.remote())
    return {**result.return_value, "nodes": nodes}
