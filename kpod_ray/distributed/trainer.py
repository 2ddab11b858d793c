"""Phase ``train``: the student, one ``fit`` over all stages, each decided by the scheduler actor."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from typing import Any

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray import config as settings
from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import WorkerResources
from kpod_ray.distributed import placement
from kpod_ray.distributed.cluster import NUM_START_RETRIES, threads_of
from kpod_ray.distributed.examining import examine_all, start_examiner, students_folder
from kpod_ray.distributed.jobs import TrainJob, train_worker
from kpod_ray.distributed.preflight import has_room_beside_training
from kpod_ray.distributed.replanning import Replanner
from kpod_ray.distributed.scheduler import Scheduler
from kpod_ray.distributed.training_position import History
from kpod_ray.distributed.watching import Watcher, watched
from kpod_ray.errors import KpodError
from kpod_ray.models.card import model_card
from kpod_ray.models.training import CPU_ENVIRONMENT


def train_student(
    config: settings.RunConfig,
    questions: Artifact,
    assess: Artifact,
    plan: Artifact,
    artifact: Artifact,
    watch: Watcher,
) -> Manifest:
    """Train the student stage by stage; write ``student/``, ``step_losses/`` and ``history.json``.

    Args:
        config: the run.
        questions: holds the questions with their answers.
        assess: holds the tokenised examples and the step difficulties.
        plan: holds the schedule.
        artifact: to be written.
        watch: gets the metrics of every train step, on the driver, soon after it.

    Raises:
        KpodError: The gradient of a train step isn't finite; the stages before are kept.
    """
    job = _job(config, questions, assess, plan, artifact)
    with watched(watch) as board:
        examiner, resources = None, config.resources
        wants_answers = config.student.accuracy_every is not None
        if wants_answers and has_room_beside_training(resources):
            examiner = start_examiner(job, resources.evaluate)
        loop_config = {
            "job": job,
            "scheduler": _scheduler(config, assess, plan, artifact),
            "examiner": examiner,
            "board": board,
        }
        returned = fit(train_worker, loop_config, resources.train, artifact)
        if "error" in returned:
            raise KpodError(returned["error"])
        best = returned["best"]
        if wants_answers:
            examiner = examiner or start_examiner(job, resources.evaluate)
            best = examine_all(job, examiner, returned["examined_stages"], returned["history"])
    history = returned["history"]
    artifact.store.write_text(f"{artifact.folder}/history.json", json.dumps(history))
    artifact.store.delete(f"{artifact.folder}/fit")
    artifact.store.delete(students_folder(artifact.folder))
    counts = _counts(history)
    card = model_card(config, counts, importlib.metadata.version("kpod-ray"))
    artifact.store.write_text(f"{artifact.folder}/student/README.md", card)
    return {
        "counts": counts,
        "workers": resources.train.num_workers,
        "nodes": placement.described(returned["nodes"]),
        **({} if best is None else {"best": best}),
        **({"warning": "; ".join(returned["warnings"])} if returned["warnings"] else {}),
    }


def _counts(history: History) -> dict[str, int]:
    return {
        "train_steps": len(history),
        "stages": int(history[-1]["stage"]),
        "tokens": int(sum(row["tokens"] for row in history)),
        "loss_tokens": int(sum(row["loss_tokens"] for row in history)),
    }


def _job(
    config: settings.RunConfig,
    questions: Artifact,
    assess: Artifact,
    plan: Artifact,
    artifact: Artifact,
) -> TrainJob:
    return TrainJob(
        student=config.student,
        evaluation=config.evaluation,
        num_stages=config.schedule.num_stages,
        seed=config.training_seed,
        storage=config.storage,
        questions=f"{questions.folder}/questions.parquet",
        examples=f"{assess.folder}/examples.parquet",
        trained_on=f"{plan.folder}/clusters.parquet",
        folder=artifact.folder,
        difficulty_weights=config.schedule.difficulty_weights,
        resources=config.resources.train,
        num_threads=threads_of(config.resources.train),
    )


def _scheduler(
    config: settings.RunConfig, assess: Artifact, plan: Artifact, artifact: Artifact
) -> Any:
    """Make the actor that decides every stage; return its handle."""
    schedule, replanner = config.schedule, None
    if schedule.adaptive:
        replanner = Replanner(schedule, assess.folder, plan.folder, artifact.folder)
    actor = ray.remote(Scheduler).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return actor.remote(
        config.storage, artifact.folder, plan.folder, schedule.num_stages, replanner
    )


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
