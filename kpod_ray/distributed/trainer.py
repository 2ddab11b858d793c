"""Phase ``train``: the student, one ``fit`` over all stages, watched through the scheduler actor."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray import config as settings
from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import WorkerResources
from kpod_ray.distributed.cluster import threads_of
from kpod_ray.distributed.scheduler import Scheduler
from kpod_ray.distributed.training_loop import TrainJob, train_worker

Watcher = Callable[[Mapping[str, float]], None]
POLL_SECONDS = 1.0


def train_student(
    config: settings.RunConfig, assess: Artifact, plan: Artifact, artifact: Artifact, watch: Watcher
) -> Manifest:
    """Train the student stage by stage; write ``student/`` and ``history.json``.

    Args:
        config: the run.
        assess: holds the tokenised examples.
        plan: holds the schedule.
        artifact: to be written.
        watch: gets the metrics of every train step, on the driver, soon after it.
    """
    num_stages = config.schedule.num_stages
    scheduler = (
        ray.remote(Scheduler)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
        .remote(config.storage, artifact.folder, plan.folder, num_stages)
    )
    job = TrainJob(
        student=config.student,
        num_stages=num_stages,
        seed=config.seed,
        storage=config.storage,
        examples=f"{assess.folder}/examples.parquet",
        output=f"{artifact.folder}/student",
        num_threads=threads_of(config.resources.train),
        scheduler=scheduler,
    )
    with _watching(scheduler, watch):
        returned = fit(train_worker, {"job": job}, config.resources.train, artifact, "fit")
    history = returned["history"]
    artifact.store.write_text(f"{artifact.folder}/history.json", json.dumps(history))
    artifact.store.delete(f"{artifact.folder}/fit")
    counts = {
        "train_steps": len(history),
        "stages": num_stages,
        "tokens": int(sum(row["tokens"] for row in history)),
        "loss_tokens": int(sum(row["loss_tokens"] for row in history)),
    }
    return {"counts": counts, "workers": config.resources.train.num_workers}


def fit(
    loop: Callable[[dict[str, Any]], dict[str, Any]],
    loop_config: dict[str, Any],
    resources: WorkerResources,
    artifact: Artifact,
    name: str,
) -> dict[str, Any]:
    """Run a training loop under Ray Train inside an artifact; a killed one is taken up again."""
    threads = {"OMP_NUM_THREADS": str(threads_of(resources))}
    wanted = {"CPU": resources.num_cpus}
    if resources.num_gpus:
        wanted["GPU"] = resources.num_gpus
    result = TorchTrainer(
        loop,
        train_loop_config=loop_config,
        scaling_config=ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.num_gpus > 0,
            resources_per_worker=wanted,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=artifact.path,
            storage_filesystem=artifact.store.filesystem,
            failure_config=FailureConfig(
                max_failures=resources.max_failures, controller_failure_limit=3
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": threads},
        ),
    ).fit()
    returned: dict[str, Any] = result.return_value
    return returned


@contextlib.contextmanager
def _watching(scheduler: Any, watch: Watcher) -> Iterator[None]:
    """Hand on what workers report to the scheduler, from a thread of the driver."""
    stop = threading.Event()

    def poll() -> None:
        seen = 0
        while True:
            is_last = stop.wait(POLL_SECONDS)
            for metrics in ray.get(scheduler.metrics_since.remote(seen)):
                watch(metrics)
                seen += 1
            if is_last:
                return

    thread = threading.Thread(target=poll, name="kpod-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
