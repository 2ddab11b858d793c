"""Sampling of rationales, prefixes and noise for each train step of the weighter's training.

The random numbers of an example are a function of (seed, train step, example), so the split of a global
batch over the workers doesn't change the result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.algorithm.keypoint_mask import KEEP_RATES
from kpod_ray.config import LearnedWeighting
from kpod_ray.data.sampler import global_batches
from kpod_ray.questions.splits import split_for_weighting
from kpod_ray.weighting.batches import MaskedBatch, MaskedExample, Prefix, collate_masked

MIXED = 0.5
"""Fraction of whole rationales where both whole rationales and prefixes are read."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """The random numbers of one example in one train step, from `draw`."""

    prefix_length: int
    """Number of tokens of the prefix, k of Eq. 5: uniform from 1 to the rationale's length, or
    the whole length."""
    keep_rate: float
    """Fraction of the tokens that a mask with a random keep rate keeps, uniform in `KEEP_RATES`."""
    uniform: npt.NDArray[np.float32]
    """[R], uniform noise in [0, 1], one number for each rationale token."""
    normal: npt.NDArray[np.float32]
    """[R], standard normal numbers, the logits of a random mask before they are scaled."""


@dataclasses.dataclass(frozen=True)
class MaskNoise:
    """The random numbers of the masks of B rationales, float32 tensors on one device."""

    keep_rates: Tensor
    """[B], `Draw.keep_rate`."""
    uniform: Tensor
    """[B, R], `Draw.uniform`; 0.5 at padding."""
    normal: Tensor
    """[B, R], `Draw.normal`; 0 at padding."""

    @classmethod
    def of(cls, draws: Sequence[Draw]) -> MaskNoise:
        """Return copies of the numbers of B draws, at least one, on the CPU.

        R is the number of tokens of the longest rationale.
        """
        return cls(
            torch.tensor([drawn.keep_rate for drawn in draws]),
            _padded([drawn.uniform for drawn in draws], 0.5),
            _padded([drawn.normal for drawn in draws], 0.0),
        )

    def to(self, device: torch.device) -> MaskNoise:
        """Return the numbers on a device; tensors already there are shared."""
        return MaskNoise(
            self.keep_rates.to(device), self.uniform.to(device), self.normal.to(device)
        )


def draw(
    example: MaskedExample, *, whole_fraction: float, seed: int, train_step: int, index: int
) -> Draw:
    """Draw prefix length, keep rate and noise of an example; equal arguments give equal draws.

    Args:
        example: the example, with at least one rationale token.
        whole_fraction: probability that the whole rationale is chosen, whatever the drawn length.
        seed: seed of the training, not negative.
        train_step: number of the train step, not negative.
        index: index of the example in the data set, from 0.

    Raises:
        ValueError: The rationale has no token, or one of the three numbers is negative.
    """
    generator = np.random.default_rng([seed, train_step, index])
    length = len(example.rationale_ids)
    is_whole = generator.uniform() < whole_fraction
    # The length is drawn in either case: the later draws don't depend on ``whole_fraction``.
    prefix_length = int(generator.integers(1, length + 1))
    return Draw(
        prefix_length=length if is_whole else prefix_length,
        keep_rate=float(generator.uniform(*KEEP_RATES)),
        uniform=generator.uniform(size=length).astype(np.float32),
        normal=generator.standard_normal(length).astype(np.float32),
    )


def all_prefixes(row: int, length: int, whole_fraction: float) -> list[Prefix]:
    """Return the prefixes of 1, 2, ..., ``length`` tokens of a rationale, for the mean of Eq. 5.

    The share of a prefix is the probability that `draw` with this ``whole_fraction`` chooses its length.
    ``row`` is the row of the rationale in the batch; ``length`` is at least 1.
    """
    share = (1 - whole_fraction) / length
    shorter = [Prefix(row, k, share) for k in range(1, length)]
    return [*shorter, Prefix(row, length, share + whole_fraction)]


def _padded(rows: Sequence[npt.NDArray[np.float32]], value: float) -> Tensor:
    """Return rows of different length as one tensor, filled at their ends with a value."""
    tensors = [torch.from_numpy(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)


@dataclasses.dataclass(frozen=True)
class MaskedSampler:
    """Makes the batches of each train step from a set of examples."""

    examples: Sequence[MaskedExample]
    """At least one example."""
    global_batch_size: int
    """Wanted number of examples of a train step; `batch_size` is the actual one."""
    prefixes: Literal["sampled", "all"]
    """Whether a batch has one sampled prefix of each rationale or all prefixes."""
    whole_fraction: float
    """Probability that a sampled prefix is the whole rationale."""
    seed: int
    """Seed of the order of the examples and of all draws, not negative."""
    pad_id: int
    """Token id of padding in the student's vocabulary."""

    @property
    def batch_size(self) -> int:
        """Number of examples of every train step over all workers, at most that of all examples."""
        return min(self.global_batch_size, len(self.examples))

    def indices(self, train_step: int) -> list[int]:
        """Return the indices into ``examples`` of a train step over all workers, `batch_size` many.

        Train steps are counted from 0 over all epochs. Each epoch has its own order, derived from the
        seed. The last examples of an epoch that don't fill a batch are left out.
        """
        epoch, position = divmod(train_step, len(self.examples) // self.batch_size)
        size = self.batch_size
        everything = range(len(self.examples))
        return global_batches(
            everything, size, num_train_steps=position + 1, seed=self.seed, stage=epoch
        )[position]

    def batch(self, indices: Sequence[int], draw_step: int) -> tuple[MaskedBatch, MaskNoise]:
        """Return a batch of examples and the random numbers of their masks, on the CPU.

        Args:
            indices: indices into ``examples`` of B examples, at least one.
            draw_step: train step, not negative, from which the random numbers are derived. The numbers
                of an example don't depend on the other examples of the batch.

        Returns:
            The batch, with one prefix of the drawn length or all prefixes of each rationale, as
            ``prefixes`` says; and the random numbers. Both are in the order of ``indices``.
        """
        chosen = [self.examples[i] for i in indices]
        draws = [
            draw(
                example,
                whole_fraction=self.whole_fraction,
                seed=self.seed,
                train_step=draw_step,
                index=i,
            )
            for example, i in zip(chosen, indices, strict=True)
        ]
        prefixes = []
        for row, drawn in enumerate(draws):
            if self.prefixes == "all":
                prefixes += all_prefixes(row, len(drawn.uniform), self.whole_fraction)
            else:
                prefixes.append(Prefix(row, drawn.prefix_length, 1.0))
        return collate_masked(chosen, prefixes, self.pad_id), MaskNoise.of(draws)


def split_examples(
    examples: Sequence[MaskedExample], weighting: LearnedWeighting, seed: int, pad_id: int
) -> tuple[MaskedSampler, MaskedSampler]:
    """Split examples into the samplers of a training set and a validation set (`split_for_weighting`).

    Each set has at least one example; a single example is in both. The examples are shared, not copied.

    Args:
        examples: all examples, at least one.
        weighting: settings of the weighter.
        seed: seed of the split and of both samplers.
        pad_id: token id of padding in the student's vocabulary.
    """
    question_ids = [example.question_id for example in examples]
    fraction, most = weighting.validation_fraction, weighting.max_validation
    training, validation = (
        MaskedSampler(
            [examples[i] for i in part],
            weighting.global_batch_size,
            weighting.prefixes,
            MIXED if weighting.whole_fraction is None else weighting.whole_fraction,
            seed,
            pad_id,
        )
        for part in split_for_weighting(question_ids, fraction, most, seed)
    )
    return training, validation
