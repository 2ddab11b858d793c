"""What training tells about its losses: sums first, so that workers' parts add up."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from kpod_ray.algorithm.step_difficulty import step_loss_sums
from kpod_ray.data.batches import Batch, num_loss_tokens
from kpod_ray.data.examples import Example
from kpod_ray.models.student import LossParts

NUM_SUMS = 9


def loss_sums(batch: Batch, parts: LossParts) -> Tensor:
    """Return the sums of one batch, [9], float64, on its device.

    Weighted loss; count, nll and total weight of rationale tokens; count and nll of answer tokens;
    tokens that are the likeliest; positions computed, padding among them, and the examples' tokens.
    """
    inside, nll = batch.in_rationale, parts.token_nll.double()
    sums = [
        parts.total.detach(),
        inside.sum(),
        torch.where(inside, nll, 0).sum(),
        torch.where(inside, batch.token_weights.double(), 0).sum(),
        (~inside).sum(),
        torch.where(inside, 0, nll).sum(),
        parts.is_top.sum(),
        torch.tensor(batch.num_slots(), device=nll.device),
        batch.num_tokens(),
    ]
    return torch.stack([value.double() for value in sums])


def step_metrics(sums: Tensor, denominator: float) -> dict[str, float]:
    """Turn the sums of a whole train step into its metrics; losses are in nats.

    Args:
        sums: [9], from `loss_sums`, added over micro-batches and workers.
        denominator: what the weighted loss is divided by.
    """
    loss, rationale_tokens, rationale_nll, weight, answer_tokens, answer_nll, *counts = (
        sums.tolist()
    )
    (top, slots, tokens), loss_tokens = counts, rationale_tokens + answer_tokens
    return {
        "loss": loss / denominator,
        "rationale_loss": rationale_nll / max(1.0, rationale_tokens),
        "answer_loss": answer_nll / max(1.0, answer_tokens),
        "token_weight_mean": weight / max(1.0, rationale_tokens),
        "token_accuracy": top / max(1.0, loss_tokens),
        "loss_tokens": loss_tokens,
        "supervised_fraction": loss_tokens / max(1.0, tokens),
        "padding_fraction": max(0.0, slots - tokens) / max(1.0, slots),
        "shared_prefix_fraction": max(0.0, tokens - slots) / max(1.0, tokens),
    }


def peak_memory_mib(device: torch.device) -> float:
    """Return the most memory that this process has held so far, of the GPU if it uses one, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class StageLosses:
    """The weighted mean loss (Eq. 8) of every reasoning step that a stage emits.

    Several visits of an example count alike. Workers hold parts of it: their `sums` add up.

    Args:
        examples: all examples of the training, whatever part of them takes part.
        token_weights: of every example, the weight of each of its tokens inside its step.
    """

    def __init__(
        self, examples: Sequence[Example], token_weights: Sequence[Sequence[float]]
    ) -> None:
        self._examples, self._token_weights = examples, token_weights
        self._num_steps = [example.num_steps for example in examples]
        self._offsets = (torch.tensor(self._num_steps).cumsum(0)).tolist()
        self.sums = torch.zeros(2, sum(self._num_steps), dtype=torch.float64)
        """[2, all steps], see `step_loss_sums`; over the workers they add up."""

    def add(
        self, indices: Sequence[int], num_given_steps: Sequence[int], token_nll: Tensor
    ) -> None:
        """Count a forward pass.

        Args:
            indices: examples that were in it, in order.
            num_given_steps: of each of them.
            token_nll: [N] on the CPU, unweighted loss of their loss tokens, one example after the other.
        """
        examples = [self._examples[i] for i in indices]
        lengths = [num_loss_tokens(*pair) for pair in zip(examples, num_given_steps, strict=True)]
        for i, nll in zip(indices, token_nll.split(lengths), strict=True):
            example, end = self._examples[i], self._offsets[i]
            steps = torch.tensor(_last(example.token_steps, len(nll)), dtype=torch.long)
            weights = torch.tensor(_last(self._token_weights[i], len(nll)))
            inside = steps < example.num_steps
            self.sums[:, end - example.num_steps : end] += step_loss_sums(
                nll[inside], weights[inside], steps[inside], example.num_steps
            )

    def means(self, sums: Tensor) -> list[list[float]]:
        """Return the loss of each example's steps, in nats; NaN where none was measured.

        Args:
            sums: [2, all steps], those of all workers.
        """
        weighted, norm = sums
        return [part.tolist() for part in (weighted / norm).split(self._num_steps)]


def _last(values: Sequence[float], num_values: int) -> Sequence[float]:
    """Return the last so many values; an example of the answer alone has more weights than tokens."""
    return values[len(values) - num_values :]
