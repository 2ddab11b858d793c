"""The adaptation of the answer predictor to masked rationales, on one Ray Train worker.

A predictor that has never read masked rationales predicts answers no worse when keypoints are masked, so
that its loss tells nothing about keypoints.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from kpod_ray.algorithm.keypoint_mask import annealed_temperature
from kpod_ray.cluster.departure import Departure
from kpod_ray.cluster.train_checkpoints import Saved, save, wait_until_saved
from kpod_ray.config import LearnedWeighting
from kpod_ray.models.finite import check_finite
from kpod_ray.models.safetensors_state import fetch_module
from kpod_ray.weighting.build import WeighterParts
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import AdaptationLoss
from kpod_ray.weighting.predictors import AnswerPredictor
from kpod_ray.weighting.rank import WeightingRank


def adapt(rank: WeightingRank, parts: WeighterParts, departure: Departure) -> bool:
    """Train the predictor on rationales with random masks, or load a predictor trained before.

    Returns:
        Whether the predictor is trained; False if a worker wants to leave; a checkpoint is saved.

    Raises:
        KpodError: The checkpoints belong to another artifact, or the predictor isn't finite.
    """
    name = WeightingJob.adapted(parts.index)
    predictor = parts.loss.predictor
    module = rank.distributed(AdaptationLoss(predictor, rank.job.weighting))
    parts.loss.to(predictor.device)
    if not rank.has(name):
        if not _train(rank, parts, module, departure):
            return False
        check_finite(predictor, "predictor", "weighting.adapt_learning_rate")
        rank.upload(predictor, name)
        rank.wait_for_others()  # rank 0 has written the file that all ranks read
    fetch_module(predictor, rank.store, rank.job.path(name))
    return True


def _train(rank: WeightingRank, parts: WeighterParts, module: Any, departure: Departure) -> bool:
    """Take the train steps that no checkpoint has; return False if a worker wants to leave."""
    weighting = rank.job.weighting
    predictor = parts.loss.predictor
    part = f"adaptation-{parts.index}"
    optimizer = torch.optim.AdamW(parameter_groups(predictor, weighting), fused=True)
    saved = rank.restored(predictor, optimizer, part)
    first = 0 if saved is None else saved.progress["train_step"]
    for train_step in range(first, weighting.num_adapt_steps):
        _step(rank, parts, module, optimizer, train_step)
        if rank.agreed(departure.is_wanted(), predictor.device):
            check_finite(predictor, "predictor", "weighting.adapt_learning_rate")
            progress = {"train_step": train_step + 1}
            save(predictor, optimizer, Saved(rank.job.folder, progress, part=part))
            wait_until_saved()
            return False
    return True


def _step(
    rank: WeightingRank,
    parts: WeighterParts,
    module: Any,
    optimizer: torch.optim.Optimizer,
    train_step: int,
) -> None:
    """Take a train step of the predictor, and post its metrics."""
    weighting = rank.job.weighting
    num_steps = weighting.num_adapt_steps
    device = parts.loss.predictor.device
    indices = parts.training.indices(train_step)
    sampler = dataclasses.replace(parts.training, prefixes="sampled")
    batch, noise = sampler.batch(rank.share(indices), train_step)
    batch = batch.to(device)
    temperature = annealed_temperature(
        train_step, num_steps, weighting.temperature, weighting.final_temperature
    )
    with torch.no_grad():
        attended = parts.loss.attended(batch)
    total, answer_nll = module(batch, noise.to(device), temperature, attended)
    progress = (train_step + 1) / (num_steps + 1)
    rank.update(total / len(indices), module, optimizer, progress)
    metrics = {"adapt_loss": float(answer_nll.mean())}
    rank.post(rank.job.first_train_step(parts.index) + train_step + 1, metrics)


def parameter_groups(
    predictor: AnswerPredictor, weighting: LearnedWeighting
) -> list[dict[str, Any]]:
    """Return the parameter groups of the adaptation, each with its largest learning rate."""
    vector = predictor.reading.mask_vector
    others = [p for p in predictor.parameters() if p.requires_grad and p is not vector]
    return [
        {"params": [vector], "largest_lr": weighting.mask_vector_learning_rate},
        {"params": others, "largest_lr": weighting.adapt_learning_rate},
    ]
