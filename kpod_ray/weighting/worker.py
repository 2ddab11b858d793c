"""The training of the token weighters on one Ray Train worker.

The weighters are trained one after the other. Each has its own predictor, which first adapts to masked
rationales and is then frozen.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import torch

from kpod_ray.algorithm.rank_weights import mean_ranks
from kpod_ray.cluster.departure import Departure, departing
from kpod_ray.errors import KpodError
from kpod_ray.models.safetensors_state import fetch_module
from kpod_ray.weighting.adaptation import adapt
from kpod_ray.weighting.build import WeighterParts, build_parts
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.learning import learn
from kpod_ray.weighting.rank import WeightingRank


def train_weighters(settings: dict[str, Any]) -> dict[str, Any]:
    """Train all weighters and write the parameters of the best validation of each.

    Every worker calls this function inside Ray Train; rank 0 writes to the folder of the job. A training
    that was interrupted continues after the last finished weighter, from the adapted predictor, if
    written, and from the newest undamaged checkpoint. The call sets torch's number of threads and global
    seed.

    Args:
        settings: ``job``, a `WeightingJob`, and ``board``, the handle of the `MetricsBoard` actor, to
            which rank 0 posts the metrics of every train step and validation.

    Returns:
        By name: ``weighters``, the fields of `WeightingProgress` of each weighter; ``quality`` of the
        token weights on the validation set, from `WeightingValidation.quality` with the last weighter's
        predictor; and ``warnings``, a text for each damaged checkpoint. A weighter without a sound
        validation is that of the last validation. Or only ``error``, the message of a `KpodError`: as in
        `build_parts`, the checkpoints belong to another artifact, or the parameters of a predictor or a
        weighter aren't finite.

    Raises:
        OSError, ValueError: As in `build_parts`; or the store fails (OSError).
        RuntimeError: An adapted predictor or the checkpoint has parameters of other names or shapes
            than the models of the job.
    """
    job: WeightingJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    rank = WeightingRank(job, settings["board"])
    parts: WeighterParts | None = None
    try:
        with departing(job.folder) as departure:
            for index in range(job.weighting.num_seeds):
                if rank.has(WeightingJob.finished(index)):
                    continue
                parts = None  # frees the models of the weighter before
                parts = build_parts(job, rank.store, index)
                if not _train(rank, parts, departure):
                    kept = f"{rank.train_step} of {job.num_train_steps} train steps"
                    return departure.leave(kept)
        quality = _quality(rank, parts)
    except KpodError as error:
        # All workers get the same error. Ray Train would retry after a raised error, which can't help.
        return {"error": str(error)}
    names = [WeightingJob.finished(i) for i in range(job.weighting.num_seeds)]
    weighters = [json.loads(rank.store.read_text(job.path(name))) for name in names]
    return {"weighters": weighters, "quality": quality, "warnings": rank.warnings}


def _train(rank: WeightingRank, parts: WeighterParts, departure: Departure) -> bool:
    """Train a predictor and its weighter; return False if a worker wants to leave."""
    job = rank.job
    if not adapt(rank, parts, departure):
        return False
    progress = learn(rank, parts, departure)
    if progress is None:
        return False
    if rank.rank == 0:
        text = json.dumps(dataclasses.asdict(progress))
        rank.store.write_text(job.path(WeightingJob.finished(parts.index)), text)
        if parts.index + 1 < job.weighting.num_seeds:  # the last predictor measures the quality
            rank.store.delete(job.path(WeightingJob.adapted(parts.index)))
    rank.wait_for_others()
    return True


def _quality(rank: WeightingRank, parts: WeighterParts | None) -> dict[str, float | None]:
    """Measure the quality of the written weighters' token weights with the last weighter's predictor.

    ``parts`` are those of the last weighter; None builds them.
    """
    job = rank.job
    num_weighters = job.weighting.num_seeds
    if parts is None:
        parts = build_parts(job, rank.store, num_weighters - 1)
        rank.distributed(parts.loss)
        fetch_module(parts.loss.predictor, rank.store, job.path(WeightingJob.adapted(parts.index)))
    token_weights = []
    for index in range(num_weighters):
        fetch_module(parts.loss.weighter, rank.store, job.path(WeightingJob.weighter(index)))
        token_weights.append(parts.validation.token_weights())
    return parts.validation.quality(mean_ranks(token_weights))
