"""The training of one token weighter with its frozen predictor, on one Ray Train worker."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from kpod_ray.algorithm.keypoint_mask import annealed_temperature
from kpod_ray.cluster.departure import Departure
from kpod_ray.cluster.train_checkpoints import Saved, save, wait_until_saved
from kpod_ray.models.finite import check_finite
from kpod_ray.weighting.build import WeighterParts
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.progress import WeightingProgress
from kpod_ray.weighting.quality import collapse_of
from kpod_ray.weighting.rank import WeightingRank


def learn(
    rank: WeightingRank, parts: WeighterParts, departure: Departure
) -> WeightingProgress | None:
    """Train the weighter from the newest checkpoint of its training on; write the best one.

    Returns:
        The progress at the end; None if a worker wants to leave, and a checkpoint is saved.

    Raises:
        KpodError: The checkpoints belong to another artifact, or the weighter isn't finite.
    """
    weighting = rank.job.weighting
    parts.loss.predictor.requires_grad_(False)
    module = rank.distributed(parts.loss)
    parts = _with_useful_prefixes(rank, parts)
    weighter = parts.loss.weighter
    groups = [{"params": list(weighter.parameters()), "largest_lr": weighting.learning_rate}]
    optimizer = torch.optim.AdamW(groups)
    part = f"training-{parts.index}"
    saved = rank.restored(weighter, optimizer, part)
    progress = WeightingProgress() if saved is None else WeightingProgress(**saved.progress)
    while not progress.is_over(weighting):
        _step(rank, parts, module, optimizer, progress)
        is_to_leave = rank.agreed(departure.is_wanted(), parts.loss.predictor.device)
        is_last = progress.train_step == weighting.num_train_steps
        is_to_validate = is_last or progress.train_step % weighting.validate_every == 0
        if is_to_validate or is_to_leave:
            check_finite(weighter, "weighter", "weighting.learning_rate")
        if is_to_validate:
            _validate(rank, parts, progress)
        if is_to_validate or is_to_leave:
            position = dataclasses.asdict(progress)
            save(weighter, optimizer, Saved(rank.job.folder, position, part=part))
        if is_to_leave:
            wait_until_saved()
            return None
    wait_until_saved()
    return progress


def _with_useful_prefixes(rank: WeightingRank, parts: WeighterParts) -> WeighterParts:
    """Return parts that read whole rationales alone where prefixes teach nothing.

    That is so without ``weighting.whole_fraction`` if the predictor gains nothing from rationales that
    lack the last step. A weighter that is trained on such prefixes learns to mask what misleads the
    predictor, which differs from predictor to predictor.
    """
    if rank.job.weighting.whole_fraction is not None:
        return parts
    gain = parts.validation.missing_step_losses([1])["missing_1_gain"]
    # Only rank 0 votes: rounding may differ between the workers.
    has_gain = rank.rank == 0 and gain is not None and gain > 0
    if rank.agreed(has_gain, parts.loss.predictor.device):
        return parts
    validation = parts.validation
    return dataclasses.replace(
        parts,
        training=dataclasses.replace(parts.training, whole_fraction=1.0),
        validation=dataclasses.replace(
            validation, sampler=dataclasses.replace(validation.sampler, whole_fraction=1.0)
        ),
    )


def _step(
    rank: WeightingRank,
    parts: WeighterParts,
    module: Any,
    optimizer: torch.optim.Optimizer,
    progress: WeightingProgress,
) -> None:
    """Take a train step of the weighter, count it in ``progress``, and post its metrics."""
    weighting = rank.job.weighting
    device = parts.loss.predictor.device
    # Train steps are numbered on from the adaptation, so that their random numbers differ.
    draw_step = weighting.num_adapt_steps + progress.train_step
    indices = parts.training.indices(draw_step)
    share = rank.share(indices)
    batch, noise = parts.training.batch(share, draw_step)
    temperature = annealed_temperature(
        progress.train_step,
        weighting.num_train_steps,
        weighting.temperature,
        weighting.final_temperature,
    )
    total, _, _ = module(batch.to(device), noise.to(device), temperature)
    progress.train_step += 1
    done = progress.train_step / (weighting.num_train_steps + 1)
    rank.update(total / len(indices), module, optimizer, done)
    mean_loss = float(total.detach()) / len(share)
    rank.post(rank.job.first_train_step(parts.index) + draw_step + 1, {"loss": mean_loss})


def _validate(rank: WeightingRank, parts: WeighterParts, progress: WeightingProgress) -> None:
    """Measure the validation loss; record and post it; write the weighter if it is the best."""
    weighting = rank.job.weighting
    token_weights = parts.validation.token_weights()
    if weighting.mask_ratio_weight is None:
        metrics = _best_half(rank, parts, token_weights)
    else:
        metrics = _eq_7(rank, parts, weighting.mask_ratio_weight)
    flat = np.concatenate(token_weights)
    row = {
        "weighter": parts.index,
        "train_step": progress.train_step,
        "whole_fraction": parts.training.whole_fraction,
        **metrics,
        "weight_spread": float(flat.std()),
    }
    done = weighting.num_adapt_steps + progress.train_step
    rank.post(rank.job.first_train_step(parts.index) + done, row)
    if progress.note(row, collapse_of(flat)):
        rank.upload(parts.loss.weighter, WeightingJob.weighter(parts.index))


def _best_half(
    rank: WeightingRank, parts: WeighterParts, token_weights: list[Any]
) -> dict[str, float]:
    """Return the validation loss of random keep rates: the mean best-half loss, in nats."""
    count = len(token_weights)
    total = rank.summed(parts.validation.best_half_sum(rank.share(range(count)), token_weights))
    return {"validation_loss": float(total) / count}


def _eq_7(rank: WeightingRank, parts: WeighterParts, penalty: float) -> dict[str, float]:
    """Return the validation loss of the mask-ratio penalty, Eq. 7, in nats, and its two parts."""
    weighting = rank.job.weighting
    count = len(parts.validation.sampler.examples)
    # The temperature is the same at all validations, so that their losses can be compared.
    temperature = weighting.final_temperature or weighting.temperature
    share = rank.share(range(count))
    sums = rank.summed(parts.validation.loss_sums(share, temperature))
    answer_loss, kept = (sums / count).tolist()
    return {
        "validation_loss": answer_loss + penalty * kept,
        "answer_loss": answer_loss,
        "kept_fraction": kept,
    }
