"""Metrics of train steps and losses of reasoning steps.

Both are accumulated as sums, since the sums of micro-batches and workers can be added.
"""

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

NUM_SUMS = 10
"""Number of sums that `loss_sums` returns."""


def loss_sums(batch: Batch, parts: LossParts) -> Tensor:
    """Return the sums of one batch from which `step_metrics` computes metrics, without gradients.

    Args:
        batch: the batch, on the device of ``parts``.
        parts: the student's result for the batch.

    Returns:
        [10], float64, on the batch's device: the loss (`LossParts.total`); number, negative
        log-likelihood, token weight and token weight of the keypoints of the rationale tokens in the
        loss; number and negative log-likelihood of the tokens of the answer segments in the loss;
        number of labels with the highest logit; number of computed positions, padding included
        (`Batch.num_slots`); number of tokens of prompts and targets (`Batch.num_tokens`).
    """
    inside = batch.in_rationale
    nll = parts.token_nll.double()
    sums = [
        parts.total.detach(),
        inside.sum(),
        torch.where(inside, nll, 0).sum(),
        torch.where(inside, batch.token_weights.double(), 0).sum(),
        torch.where(batch.is_keypoint, batch.token_weights.double(), 0).sum(),
        (~inside).sum(),
        torch.where(inside, 0, nll).sum(),
        parts.is_top.sum(),
        torch.tensor(batch.num_slots(), device=nll.device),
        batch.num_tokens(),
    ]
    return torch.stack([value.double() for value in sums])


def step_metrics(sums: Tensor, denominator: float) -> dict[str, float]:
    """Compute the metrics of a train step from its sums.

    Args:
        sums: [10], from `loss_sums`, added over micro-batches and workers.
        denominator: divisor of the first sum, above 0, for the same batches; see
            ``student.loss_normalization``.

    Returns:
        Metrics by name, losses in nats; a mean or fraction of nothing is 0. ``loss``: the first sum,
        divided by the denominator. ``rationale_loss`` and ``answer_loss``: unweighted means over the
        tokens in the loss of the rationales and of the answer segments. ``token_weight_mean``: mean over
        the rationale tokens in the loss. ``keypoint_share``: the keypoints' part of the total weight of
        the rationale tokens in the loss. ``token_accuracy``: fraction of the tokens in the loss with the
        highest logit. ``loss_tokens``: number of tokens in the loss. ``supervised_fraction``: this
        number divided by that of all tokens of prompts and targets. ``padding_fraction``: fraction of
        the computed positions that are padding. ``shared_prefix_fraction``: fraction of the tokens of
        prompts and targets that aren't computed (in packed batches: further copies of a shared prefix,
        and the last token of each example).
    """
    loss, rationale_tokens, rationale_nll, weight, keypoint_weight, *others = sums.tolist()
    answer_tokens, answer_nll, top, slots, tokens = others
    loss_tokens = rationale_tokens + answer_tokens
    return {
        "loss": loss / denominator,
        "rationale_loss": rationale_nll / max(1.0, rationale_tokens),
        "answer_loss": answer_nll / max(1.0, answer_tokens),
        "token_weight_mean": weight / max(1.0, rationale_tokens),
        "keypoint_share": keypoint_weight / weight if weight else 0.0,
        "token_accuracy": top / max(1.0, loss_tokens),
        "loss_tokens": loss_tokens,
        "supervised_fraction": loss_tokens / max(1.0, tokens),
        # Padding makes more positions than tokens; a shared prefix makes fewer. A batch has one of them.
        "padding_fraction": max(0.0, slots - tokens) / max(1.0, slots),
        "shared_prefix_fraction": max(0.0, tokens - slots) / max(1.0, tokens),
    }


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory of this process since its start, in MiB.

    On a CUDA device, memory that torch allocated there counts; on any other, the resident memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, in KiB on Linux
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


class StageLosses:
    """Accumulates the weighted mean loss (Eq. 8) of every supervised reasoning step during a stage.

    All forward passes of an example in the stage have the same weight. Each worker accumulates its own
    examples; the caller adds the `sums` of all workers.

    Args:
        examples: all training examples, with the targets that are trained on; a stage may use only some
            of them.
        token_weights: for every example, the weight of each target token inside its reasoning step. A
            list that is longer than the target belongs to a target whose beginning was left out.
    """

    def __init__(
        self, examples: Sequence[Example], token_weights: Sequence[Sequence[float]]
    ) -> None:
        self._examples = examples
        self._token_weights = token_weights
        self._num_steps = [example.num_steps for example in examples]
        self._offsets = (torch.tensor(self._num_steps).cumsum(0)).tolist()
        self.sums = torch.zeros(2, sum(self._num_steps), dtype=torch.float64)
        """[2, steps of all examples], float64 on the CPU, weighted losses and weights; see
        `step_loss_sums`. The steps of one example are in order, after those of the example before."""

    def add(
        self, indices: Sequence[int], num_given_steps: Sequence[int], token_nll: Tensor
    ) -> None:
        """Add the losses of a forward pass to `sums`; call once for each pass that is trained on.

        Args:
            indices: indices into ``examples`` of the examples of the pass, in order; may repeat.
            num_given_steps: number of given steps of each of these examples.
            token_nll: [N] on the CPU, unweighted loss in nats of the examples' tokens in the loss, one
                example after the other, without gradients.

        Raises:
            ValueError: ``indices`` and ``num_given_steps`` have different lengths.
            RuntimeError: N isn't the number of tokens in the loss.
        """
        examples = [self._examples[i] for i in indices]
        lengths = [num_loss_tokens(*pair) for pair in zip(examples, num_given_steps, strict=True)]
        for i, nll in zip(indices, token_nll.split(lengths), strict=True):
            example = self._examples[i]
            end = self._offsets[i]
            steps = torch.tensor(_last(example.token_steps, len(nll)), dtype=torch.long)
            weights = torch.tensor(_last(self._token_weights[i], len(nll)))
            inside = steps < example.num_steps  # the answer segment belongs to no reasoning step
            self.sums[:, end - example.num_steps : end] += step_loss_sums(
                nll[inside], weights[inside], steps[inside], example.num_steps
            )

    def means(self, sums: Tensor) -> list[list[float]]:
        """Return the weighted mean loss of each reasoning step of each example, in nats.

        ``sums``, [2, steps of all examples], is the attribute `sums` added over the workers. The result
        has one list for each example, in order, with NaN for a step without a measured loss.
        """
        weighted, norm = sums
        return [part.tolist() for part in (weighted / norm).split(self._num_steps)]


def _last(values: Sequence[float], num_values: int) -> Sequence[float]:
    """Return the last ``num_values`` values."""
    # With ``target: answer`` an example has fewer tokens than weights: the rationale is left out.
    return values[len(values) - num_values :]
