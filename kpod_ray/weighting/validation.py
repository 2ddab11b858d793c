"""Validation of the weighter: loss and quality metrics on the validation set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.data.token_kinds import FUNCTION_WORD, KEYPOINT
from kpod_ray.weighting.batches import Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss, mean_answer_nll
from kpod_ray.weighting.quality import keep_highest, mean_weight, ranking_auc
from kpod_ray.weighting.sampler import MaskedSampler

VALIDATION_STEP = 2**31
"""Train step from which validations derive random numbers; no training reaches this number."""
BATCH_SIZE = 16
"""Rationales of one forward pass."""
KEPT_FRACTION = 0.5
"""Fraction of the tokens that are kept for the ``..._half_loss`` metrics."""
MOST_MISSING = 3
"""Largest number of missing last reasoning steps for which the answer loss is measured."""
TokenArray = npt.NDArray[np.float64]
"""One number for each token of a rationale."""


@dataclasses.dataclass(frozen=True)
class WeightingValidation:
    """Measures weighter and predictor on the validation set.

    The methods read the parameters at the time of the call, compute without gradients, and use neither
    Ray nor other workers.
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
            batch, noise = self.sampler.batch(part, VALIDATION_STEP)
            device = self.loss.predictor.device
            _, answer_nll, kept_fraction = self.loss(
                batch.to(device), noise.to(device), temperature
            )
            sums += torch.stack([answer_nll.sum(), kept_fraction.sum()])
        return sums

    def token_weights(self) -> list[TokenArray]:
        """Return the current weighter's token weights of each rationale, in [0, 1], one array each.

        The arrays are in the order of ``sampler.examples``. The weights are computed anew in every call.
        """
        weights = []
        for example in self.sampler.examples:
            ids = torch.tensor([example.rationale_ids], device=self.loss.predictor.device)
            own = self.loss.weighter.token_weights(ids, torch.ones_like(ids, dtype=torch.bool))
            weights.append(own[0].double().cpu().numpy())
        return weights

    def best_half_sum(self, indices: Sequence[int], token_weights: Sequence[TokenArray]) -> Tensor:
        """Return the sum of the best-half losses of some rationales, in nats, a scalar of float32.

        The best-half loss is the answer's loss after the whole rationale of which only the half of the
        tokens with the highest weights is kept. ``indices`` refers to ``sampler.examples``;
        ``token_weights`` has one array for each of all examples. The sum is 0 without indices.
        """
        masks = [keep_highest(token_weights[i], KEPT_FRACTION) for i in indices]
        losses = self._answer_losses(indices, masks)
        return torch.tensor(losses.sum(), dtype=torch.float32, device=self.loss.predictor.device)

    def quality(self, token_weights: Sequence[TokenArray]) -> dict[str, float | None]:
        """Measure the quality of token weights, and of the predictor, on the whole validation set.

        Args:
            token_weights: one array for each of ``sampler.examples``.

        Returns:
            ``auc`` from `ranking_auc`; ``keypoint_weight`` and ``function_word_weight``, mean weights
            (None if the kind of token is missing); the answer loss in nats after the whole rationale, as
            a mean over the rationales, if only half of each rationale's tokens is kept: those with the
            highest weights (``highest_half_loss``, the best-half loss), with the lowest weights
            (``lowest_half_loss``) or random ones (``random_half_loss``, the same in every call); and
            `missing_step_losses` up to `MOST_MISSING`. Half of an odd number is rounded up.
        """
        kinds = np.concatenate([np.array(e.rationale_kinds) for e in self.sampler.examples])
        generator = np.random.default_rng([self.sampler.seed, VALIDATION_STEP])
        scores = {
            "highest": token_weights,
            "random": [generator.uniform(size=len(row)) for row in token_weights],
            "lowest": [-row for row in token_weights],
        }
        everything = range(len(token_weights))
        losses = {
            f"{name}_half_loss": float(self.best_half_sum(everything, rows)) / len(rows)
            for name, rows in scores.items()
        }
        flat = np.concatenate(token_weights)
        return {
            "auc": ranking_auc(flat, kinds),
            "keypoint_weight": mean_weight(flat, kinds, KEYPOINT),
            "function_word_weight": mean_weight(flat, kinds, FUNCTION_WORD),
            **losses,
            **self.missing_step_losses(range(MOST_MISSING + 1)),
        }

    def missing_step_losses(self, counts: Sequence[int]) -> dict[str, float | None]:
        """Measure what the predictor learns from unmasked prefixes that lack the last reasoning steps.

        Args:
            counts: numbers of missing steps, at least 0.

        Returns:
            For each number k, ``missing_<k>_loss``, the mean answer loss in nats over the rationales
            with more than k steps, and ``missing_<k>_gain``, the mean over the same rationales of the
            answer loss without any rationale minus that loss. Both are None without such a rationale.
        """
        examples = self.sampler.examples
        everything = range(len(examples))
        unmasked = [np.ones(len(e.rationale_ids), dtype=np.float32) for e in examples]
        nothing = self._answer_losses(everything, unmasked, [0] * len(examples))
        result = dict[str, float | None]()
        for missing in counts:
            long = [i for i in everything if len(examples[i].step_ends) > missing]
            lengths = [examples[i].step_ends[-1 - missing] for i in long]
            losses = self._answer_losses(long, [unmasked[i] for i in long], lengths)
            gains = nothing[long] - losses
            result[f"missing_{missing}_loss"] = float(losses.mean()) if long else None
            result[f"missing_{missing}_gain"] = float(gains.mean()) if long else None
        return result

    @torch.no_grad()
    def _answer_losses(
        self,
        indices: Sequence[int],
        masks: Sequence[npt.NDArray[np.float32]],
        lengths: Sequence[int] | None = None,
    ) -> TokenArray:
        """Return the answer loss, in nats, of each rationale after a masked prefix, [N].

        Args:
            indices: N indices into ``sampler.examples``.
            masks: for each of these, 1 at tokens that are kept and 0 at the others.
            lengths: for each of these the number of tokens of the prefix; None for whole rationales.
        """
        losses = [np.zeros(0)]
        device = self.loss.predictor.device
        for part in _parts(range(len(indices))):
            examples = [self.sampler.examples[indices[i]] for i in part]
            own = [len(e.rationale_ids) for e in examples]
            cut = own if lengths is None else [lengths[i] for i in part]
            prefixes = [Prefix(row, length, 1.0) for row, length in enumerate(cut)]
            batch = collate_masked(examples, prefixes, self.sampler.pad_id).to(device)
            rows = [torch.from_numpy(masks[i]) for i in part]
            mask = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
            nll = mean_answer_nll(self.loss.predictor, batch, mask, self.loss.attended(batch))
            losses.append(nll.double().cpu().numpy())
        return np.concatenate(losses)


def _parts(indices: Sequence[int]) -> list[Sequence[int]]:
    """Split indices into batches of `BATCH_SIZE`."""
    return [indices[start : start + BATCH_SIZE] for start in range(0, len(indices), BATCH_SIZE)]
