"""Phase ``train``: run the student's training on Ray and write the artifact.

One ``fit`` of Ray Train runs all stages. A scheduler actor decides at the start of each stage what the
stage trains on. If ``student.accuracy_every_stages`` is set, an actor measures the validation accuracy
of saved students beside the training if the resources suffice, else after the training.
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
from typing import Any

import ray

from kpod_ray import config as settings
from kpod_ray.cluster import placement
from kpod_ray.cluster.capacity import has_room_beside_training
from kpod_ray.cluster.metrics_board import Watcher, watched
from kpod_ray.cluster.placement import threads_of
from kpod_ray.cluster.torch_trainer import fit
from kpod_ray.schedule.replan import Replanner
from kpod_ray.schedule.scheduler import Scheduler
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.training.entry import train_worker
from kpod_ray.training.job import TrainJob, students_folder
from kpod_ray.training.model_card import model_card
from kpod_ray.training.progress import History
from kpod_ray.training.validation_accuracy import measure_all, start_validation_actor


def train_student(
    config: settings.RunConfig,
    questions: Artifact,
    assess: Artifact,
    plan: Artifact,
    artifact: Artifact,
    watch: Watcher,
) -> Manifest:
    """Train the student stage by stage; write ``student/``, ``step_losses/`` and ``history.json``.

    Ray must be connected. ``questions``, ``assess`` and ``plan`` are finished artifacts. An interrupted
    training continues from the checkpoints in ``fit/``, which are deleted at the end. ``watch`` gets the
    metrics of every train step of this call, in a thread of the driver, and again when validation
    metrics are added. An accuracy that is measured after the training, for want of room beside it, is
    not passed.

    Returns:
        The manifest entries ``counts``, ``keypoint_share`` (`mean_keypoint_share`), ``workers``,
        ``nodes``; ``best`` (stage and its loss or accuracy) if there is a validation set; ``warning`` if
        checkpoints were damaged.

    Raises:
        KpodError: The student can't be loaded or trained, or ``fit/`` belongs to another artifact.
        TrainingFailedError: As in `kpod_ray.cluster.torch_trainer.fit`.
        RayError: An actor failed; an error of `ValidationAccuracyActor` arrives as a `RayTaskError`.
    """
    job = _job(config, questions, assess, plan, artifact)
    with watched(watch) as board:
        validation_actor = None
        resources = config.resources
        wants_answers = config.student.accuracy_every_stages is not None
        if wants_answers and has_room_beside_training(resources):
            validation_actor = start_validation_actor(job, resources.evaluate)
        loop_config = {
            "job": job,
            "scheduler": _scheduler(config, assess, plan, artifact),
            "validation_actor": validation_actor,
            "board": board,
        }
        returned = fit(train_worker, loop_config, resources.train, artifact)
        history = returned["history"]
        if wants_answers:
            validation_actor = validation_actor or start_validation_actor(job, resources.evaluate)
            measured_stages = returned["measured_stages"]
            returned["best"] = measure_all(job, validation_actor, measured_stages, history)
    artifact.store.write_text(f"{artifact.folder}/history.json", json.dumps(history))
    # The checkpoints and the students of single stages only serve a resume; the training is complete.
    artifact.store.delete(f"{artifact.folder}/fit")
    artifact.store.delete(students_folder(artifact.folder))
    manifest = _manifest(config, returned)
    card = model_card(config, manifest["counts"], importlib.metadata.version("kpod-ray"))
    artifact.store.write_text(f"{artifact.folder}/student/README.md", card)
    return manifest


def _manifest(config: settings.RunConfig, returned: dict[str, Any]) -> Manifest:
    """Return the manifest entries of a training from what its workers returned (`train_stages`)."""
    history = returned["history"]
    best = returned["best"]
    return {
        "counts": _counts(history),
        "keypoint_share": mean_keypoint_share(history),
        "workers": config.resources.train.num_workers,
        "nodes": placement.described(returned["nodes"]),
        **({} if best is None else {"best": best}),
        **({"warning": "; ".join(returned["warnings"])} if returned["warnings"] else {}),
    }


def _counts(history: History) -> dict[str, int]:
    """Return the totals of a training for its manifest."""
    return {
        "train_steps": len(history),
        "stages": int(history[-1]["stage"]),
        "tokens": int(sum(row["tokens"] for row in history)),
        "loss_tokens": int(sum(row["loss_tokens"] for row in history)),
    }


def mean_keypoint_share(history: History) -> float | None:
    """Return the mean ``keypoint_share`` (`step_metrics`) over train steps with a rationale in the loss.

    The result is None if there is no such train step, as with ``student.target: answer``.
    """
    shares = [row["keypoint_share"] for row in history if row["token_weight_mean"]]
    return statistics.fmean(shares) if shares else None


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
    """Start the scheduler actor; return its handle."""
    schedule = config.schedule
    replanner = None
    if schedule.adaptive:
        replanner = Replanner(schedule, assess.folder, plan.folder, artifact.folder)
    actor = ray.remote(Scheduler).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    return actor.remote(
        config.storage, artifact.folder, plan.folder, schedule.num_stages, replanner
    )
