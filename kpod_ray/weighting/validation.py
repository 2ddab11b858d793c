"""Validation of the weighter: loss and quality metrics on the validation set, and early stopping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.token_kinds import FUNCTION_WORD, KEYPOINT
from kpod_ray.weighting.batches import Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss, mean_answer_nll
from kpod_ray.weighting.quality import keep_highest, mean_weight, ranking_auc
from kpod_ray.weighting.sampler import MaskedSampler, stack_noise

VALIDATION_STEP = 2**31
"""Train step from which validations derive random numbers; no training reaches this number."""
BATCH_SIZE = 16
"""Rationales of one forward pass."""
KEPT_FRACTION = 0.5
"""Fraction of the tokens that are kept for the ``..._half_loss`` metrics."""


@dataclasses.dataclass(frozen=True)
class WeightingValidation:
    """Measures a weighter on the validation set.

    The methods read the weighter's parameters at the time of the call, compute without gradients, and
    use neither Ray nor other workers.
    """

    sampler: MaskedSampler
    """Holds the examples of the validation set."""
    loss: KeypointLoss
    """Holds the weighter and the predictor."""

    @torch.no_grad()
    def loss_sums(self, indices: Sequence[int], temperature: float) -> Tensor:
        """Return the sums of answer loss, in nats, and mean token weight over some rationales.

        ``indices`` refers to ``sampler.examples``; the sums are 0 without indices. ``temperature``,
        above 0, is that of the Gumbel mask. All calls use the same noise and the same prefixes for a
        rationale, so sums over disjoint indices can be added. The result, [2] float32, is on the
        predictor's device.
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
        """Return the token weights, in [0, 1], of each rationale of the validation set, one array each.

        The arrays are in the order of ``sampler.examples``. The weights are computed anew in every call.
        """
        weights = []
        for example in self.sampler.examples:
            ids = torch.tensor([example.rationale_ids], device=self.loss.predictor.device)
            logits = self.loss.weighter(ids, torch.ones_like(ids, dtype=torch.bool))
            weights.append(torch.sigmoid(logits[0]).double().cpu().numpy())
        return weights

    def quality(self) -> dict[str, float | None]:
        """Measure the quality of the current weighter's token weights on the whole validation set.

        Returns:
            ``auc`` from `ranking_auc`; ``keypoint_weight`` and ``function_word_weight``, mean weights
            (None if the kind of token is missing); and the answer loss in nats after the whole
            rationale, as a mean over the rationales, if only half of each rationale's tokens is kept:
            those with the highest weights (``highest_half_loss``), with the lowest weights
            (``lowest_half_loss``) or random ones (``random_half_loss``, the same in every call). Half of
            an odd number is rounded up.
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
        """Return the mean answer loss, in nats, if only the half with the highest scores is kept.

        ``scores`` holds one array [R] for each rationale of the validation set.
        """
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
    """Position and validation results of the weighter's training, which checkpoints store."""

    train_step: int = 0
    """Number of finished train steps."""
    best: dict[str, float] | None = None
    """Metrics of the best validation; None as long as the weights were collapsed at every validation."""
    num_worse: int = 0
    """Number of validations since the best one, or since the start as long as there is none."""
    collapse: str | None = None
    """Description of the collapse at the last validation; None if the weights were sound."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """Metrics of all validations, in order."""

    def note(self, row: dict[str, float], collapse: str | None) -> bool:
        """Record a validation in all fields but ``train_step``; to be called once for each validation.

        Args:
            row: metrics of the validation, ``validation_loss`` among them; the dict itself is kept.
            collapse: description of the weights' collapse from `collapse_of`, or None.

        Returns:
            Whether to save this weighter: its weights are sound and its loss, which isn't NaN, is below
            that of all earlier sound validations, or no validation so far had sound weights.
        """
        self.history.append(row)
        self.collapse = collapse
        best_loss = math.inf if self.best is None else self.best["validation_loss"]
        is_best = row["validation_loss"] < best_loss  # never for NaN
        if collapse is None and is_best:
            self.best = row
            self.num_worse = 0
            return True
        self.num_worse += 1
        return self.best is None

    def is_over(self, weighting: LearnedWeighting) -> bool:
        """Return whether the training ends, from what `note` and ``train_step`` recorded.

        The training ends after ``weighting.num_train_steps`` train steps, after ``weighting.patience``
        validations since the best one (or since the start, if none was sound), or if the weights are
        collapsed after an earlier sound validation.
        """
        # Weights that collapse after a sound validation are not expected to recover. Before the first
        # sound validation the training goes on, because the weights of an untrained weighter are nearly
        # equal.
        is_lost = self.best is not None and self.collapse is not None
        is_stuck = self.num_worse >= weighting.patience
        return is_lost or is_stuck or self.train_step >= weighting.num_train_steps


def _parts(indices: Sequence[int]) -> list[Sequence[int]]:
    """Split indices into batches of `BATCH_SIZE`."""
    return [indices[start : start + BATCH_SIZE] for start in range(0, len(indices), BATCH_SIZE)]
