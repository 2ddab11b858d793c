"""What the rationales that are held back tell: which weighter is kept, and how good its weights are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.config import LearnedWeighting
from kpod_ray.weighting.batches import Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss, mean_answer_nll
from kpod_ray.weighting.quality import (
    FUNCTION_WORD,
    KEYPOINT,
    keep_highest,
    mean_weight,
    ranking_auc,
)
from kpod_ray.weighting.sampler import MaskedSampler, stack_noise

VALIDATION_STEP = 2**31
"""Train step of the draws that all validations share."""
BATCH_SIZE = 16
KEPT_FRACTION = 0.5


@dataclasses.dataclass(frozen=True)
class WeightingValidation:
    """The rationales that are held back, with the weighter and the predictor."""

    sampler: MaskedSampler
    loss: KeypointLoss

    @torch.no_grad()
    def loss_sums(self, indices: Sequence[int], temperature: float) -> Tensor:
        """Return the sums of answer loss and kept share over some rationales, [2].

        The noise is the same each time.
        """
        sums = torch.zeros(2, device=self.loss.predictor.device)
        for part in _parts(indices):
            batch, draws = self.sampler.batch(part, VALIDATION_STEP)
            uniform = stack_noise(draws).to(self.loss.predictor.device)
            _, answer_nll, kept_fraction = self.loss(
                batch.to(self.loss.predictor.device), uniform, temperature
            )
            sums += torch.stack([answer_nll.sum(), kept_fraction.sum()])
        return sums

    @torch.no_grad()
    def token_weights(self) -> list[npt.NDArray[np.float64]]:
        """Return the token weights of every rationale."""
        weights = []
        for example in self.sampler.examples:
            ids = torch.tensor([example.rationale_ids], device=self.loss.predictor.device)
            logits = self.loss.weighter(ids, torch.ones_like(ids, dtype=torch.bool))
            weights.append(torch.sigmoid(logits[0]).double().cpu().numpy())
        return weights

    def quality(self) -> dict[str, float | None]:
        """Measure how good the weights are.

        Returns:
            ``auc`` of keypoints above function words, the mean weight of either (None where a kind is
            missing), and the mean answer loss, in nats, of whole rationales of which the highest, a
            random or the lowest half of the tokens is kept.
        """
        rows = self.token_weights()
        kinds = np.concatenate([np.array(e.rationale_kinds) for e in self.sampler.examples])
        generator = np.random.default_rng([self.sampler.seed, VALIDATION_STEP])
        scores = {
            "highest": rows,
            "random": [generator.uniform(size=len(row)) for row in rows],
            "lowest": [-row for row in rows],
        }
        losses = {f"{name}_half_loss": self._kept_loss(rows) for name, rows in scores.items()}
        token_weights = np.concatenate(rows)
        return {
            "auc": ranking_auc(token_weights, kinds),
            "keypoint_weight": mean_weight(token_weights, kinds, KEYPOINT),
            "function_word_weight": mean_weight(token_weights, kinds, FUNCTION_WORD),
            **losses,
        }

    @torch.no_grad()
    def _kept_loss(self, scores: Sequence[npt.NDArray[np.float64]]) -> float:
        """Return the mean answer loss when the tokens of the highest scores are kept."""
        total = 0.0
        for part in _parts(range(len(scores))):
            examples = [self.sampler.examples[i] for i in part]
            prefixes = [Prefix(row, len(e.rationale_ids), 1.0) for row, e in enumerate(examples)]
            batch = collate_masked(examples, prefixes, self.sampler.pad_id).to(
                self.loss.predictor.device
            )
            kept = [torch.from_numpy(keep_highest(scores[i], KEPT_FRACTION)) for i in part]
            keypoint_mask = torch.nn.utils.rnn.pad_sequence(kept, batch_first=True).to(
                self.loss.predictor.device
            )
            attended = self.loss.attended(batch)
            total += float(
                mean_answer_nll(self.loss.predictor, batch, keypoint_mask, attended).sum()
            )
        return total / len(scores)


@dataclasses.dataclass
class WeightingProgress:
    """How far the training is."""

    train_step: int = 0
    best: dict[str, float] | None = None
    """The validation of the weighter that is kept; None before the first sound one."""
    num_worse: int = 0
    """Validations since the best one."""
    collapse: str | None = None
    """How the weights had collapsed at the last validation."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)

    def note(self, row: dict[str, float], collapse: str | None) -> bool:
        """Note a validation; tell whether its weighter is the one to keep.

        A sound one is if it is the best so far. Before the first sound one any is, for want of better.
        """
        self.history.append(row)
        self.collapse = collapse
        is_best = self.best is None or row["validation_loss"] < self.best["validation_loss"]
        if collapse is None and is_best:
            self.best, self.num_worse = row, 0
            return True
        self.num_worse += 1
        return self.best is None

    def is_over(self, weighting: LearnedWeighting) -> bool:
        """Whether no train step is left, or further ones would only make the weighter worse."""
        is_lost = self.best is not None and self.collapse is not None
        is_stuck = self.num_worse >= weighting.patience
        return is_lost or is_stuck or self.train_step >= weighting.num_train_steps


def _parts(indices: Sequence[int]) -> list[Sequence[int]]:
    return [indices[start : start + BATCH_SIZE] for start in range(0, len(indices), BATCH_SIZE)]
