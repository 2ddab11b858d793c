"""Which rationales, prefixes and noise the weighter's training sees at a train step.

Everything random about an example is a function of (seed, train step, example), so that the split
over workers changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.sampler import global_batches
from kpod_ray.questions.splits import split_for_weighting
from kpod_ray.weighting.batches import MaskedBatch, MaskedExample, Prefix, collate_masked


@dataclasses.dataclass(frozen=True)
class Draw:
    """What is random about one example in one train step."""

    prefix_length: int
    """k: the rationale's length, or uniform from 1 to it."""
    kept_fraction: float
    """Uniform in (0, 1): share of tokens kept while the predictor adapts."""
    uniform: npt.NDArray[np.float32]
    """[R], uniform in (0, 1), one a rationale token."""


def draw(
    example: MaskedExample, *, whole_fraction: float, seed: int, train_step: int, index: int
) -> Draw:
    """Draw prefix length, kept share and noise; the same arguments give the same draw."""
    generator = np.random.default_rng([seed, train_step, index])
    length = len(example.rationale_ids)
    is_whole = generator.uniform() < whole_fraction
    prefix_length = int(generator.integers(1, length + 1))
    return Draw(
        prefix_length=length if is_whole else prefix_length,
        kept_fraction=float(generator.uniform()),
        uniform=generator.uniform(size=length).astype(np.float32),
    )


def all_prefixes(row: int, length: int, whole_fraction: float) -> list[Prefix]:
    """Return every prefix of a rationale with its probability under `draw` (Eq. 5's sum as a mean)."""
    share = (1 - whole_fraction) / length
    shorter = [Prefix(row, k, share) for k in range(1, length)]
    return [*shorter, Prefix(row, length, share + whole_fraction)]


def stack_noise(draws: Sequence[Draw]) -> Tensor:
    """Return the uniform noise of several draws, [B, R], right-padded with 0.5."""
    rows = [torch.from_numpy(drawn.uniform) for drawn in draws]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0.5)


@dataclasses.dataclass(frozen=True)
class MaskedSampler:
    """Batches of a set of examples: what a worker gets is a function of (seed, train step, rank)."""

    examples: Sequence[MaskedExample]
    global_batch_size: int
    prefixes: Literal["sampled", "all"]
    """One drawn prefix of each rationale, or all of them."""
    whole_fraction: float
    seed: int
    pad_id: int

    @property
    def batch_size(self) -> int:
        """Examples of one train step over all workers; always the same."""
        return min(self.global_batch_size, len(self.examples))

    def indices(self, train_step: int) -> list[int]:
        """Return the examples of a train step; the short rest of each epoch is left out."""
        epoch, position = divmod(train_step, len(self.examples) // self.batch_size)
        size = self.batch_size
        everything = range(len(self.examples))
        return global_batches(
            everything, size, num_train_steps=position + 1, seed=self.seed, stage=epoch
        )[position]

    def batch(self, indices: Sequence[int], draw_step: int) -> tuple[MaskedBatch, list[Draw]]:
        """Return the batch of some examples, with what is random about them at a train step."""
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
        return collate_masked(chosen, prefixes, self.pad_id), draws


def split_examples(
    examples: Sequence[MaskedExample], weighting: LearnedWeighting, seed: int, pad_id: int
) -> tuple[MaskedSampler, MaskedSampler]:
    """Return the sampler of the examples for training, and that of those for validation."""
    question_ids = [example.question_id for example in examples]
    fraction, most = weighting.validation_fraction, weighting.max_validation
    training, validation = (
        MaskedSampler(
            [examples[i] for i in part],
            weighting.global_batch_size,
            weighting.prefixes,
            weighting.whole_fraction,
            seed,
            pad_id,
        )
        for part in split_for_weighting(question_ids, fraction, most, seed)
    )
    return training, validation
