"""Batches for the token weighter: rationales, random prefixes and noise.

Everything random about an example is a function of (seed, train step, example), so that the split
over workers changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kpod_ray.data.batching import global_batches
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.prompts import CLOSING, Template, encode_prompt, question_text
from kpod_ray.records import Question


@dataclasses.dataclass(frozen=True, slots=True)
class MaskedExample:
    """A question, its rationale and its answer as token ids of the predictor."""

    prompt_ids: list[int]
    rationale_ids: list[int]
    closing_ids: list[int]
    answer_ids: list[int]


@dataclasses.dataclass(frozen=True)
class Draw:
    """What is random about one example in one train step."""

    prefix_length: int
    """k: the rationale's length, or uniform from 1 to it."""
    kept_share: float
    """Uniform in (0, 1): share of tokens kept while the predictor adapts."""
    uniform: npt.NDArray[np.float32]
    """[R], uniform in (0, 1), one a rationale token."""


@dataclasses.dataclass(frozen=True)
class WeigherBatch:
    """Right-padded rationales and the sequences in which they are masked."""

    rationale_ids: Tensor
    """[B, R], the whole rationale of each example."""
    rationale_mask: Tensor
    """[B, R] bool, where a rationale token exists."""
    input_ids: Tensor
    """[B, L], question, rationale prefix, closing words, answer."""
    attention_mask: Tensor
    """[B, L]."""
    prefix_starts: Tensor
    """[B], where the rationale prefix begins in ``input_ids``."""
    prefix_lengths: Tensor
    """[B], k of Eq. 5."""
    answer_rows: Tensor
    """[N], row of each position that predicts an answer token."""
    answer_columns: Tensor
    """[N], its column."""
    answer_labels: Tensor
    """[N], the answer token one to the right."""

    def to(self, device: torch.device) -> WeigherBatch:
        """Return the batch on another device."""
        fields = dataclasses.fields(self)
        return WeigherBatch(
            **{field.name: getattr(self, field.name).to(device) for field in fields}
        )


def build_masked_example(
    tokenizer: Any, question: Question, rationale: str, template: Template
) -> MaskedExample:
    """Tokenise the pieces of the predictor's input and its answer."""
    rationale_ids, _, _ = encode_with_spans(tokenizer, rationale)
    closing = tokenizer(f" {CLOSING.rstrip()}", add_special_tokens=False).input_ids
    answer = tokenizer(f" {question.answer}", add_special_tokens=False).input_ids
    return MaskedExample(
        encode_prompt(tokenizer, question_text(question), template), rationale_ids, closing, answer
    )


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
        kept_share=float(generator.uniform()),
        uniform=generator.uniform(size=length).astype(np.float32),
    )


def collate_masked(
    examples: Sequence[MaskedExample], prefix_lengths: Sequence[int], pad_id: int
) -> WeigherBatch:
    """Pad examples into a batch with the given rationale prefixes."""
    sequences, starts, rows, columns, labels = [], [], [], [], []
    for row, (example, length) in enumerate(zip(examples, prefix_lengths, strict=True)):
        context = [*example.prompt_ids, *example.rationale_ids[:length], *example.closing_ids]
        sequences.append([*context, *example.answer_ids])
        starts.append(len(example.prompt_ids))
        for j, token in enumerate(example.answer_ids):
            rows.append(row)
            columns.append(len(context) + j - 1)
            labels.append(token)
    rationales = [example.rationale_ids for example in examples]
    rationale_ids, rationale_mask = _padded(rationales, pad_id)
    input_ids, attention_mask = _padded(sequences, pad_id)
    return WeigherBatch(
        rationale_ids=rationale_ids,
        rationale_mask=rationale_mask,
        input_ids=input_ids,
        attention_mask=attention_mask.long(),
        prefix_starts=torch.tensor(starts),
        prefix_lengths=torch.tensor(prefix_lengths),
        answer_rows=torch.tensor(rows),
        answer_columns=torch.tensor(columns),
        answer_labels=torch.tensor(labels),
    )


def stack_noise(draws: Sequence[Draw]) -> Tensor:
    """Return the uniform noise of several draws, [B, R], right-padded with 0.5."""
    rows = [torch.from_numpy(drawn.uniform) for drawn in draws]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0.5)


def _padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1])[None] < lengths[:, None]


@dataclasses.dataclass(frozen=True)
class MaskedSampler:
    """Batches of a set of examples: what a worker gets is a function of (seed, train step, rank)."""

    examples: Sequence[MaskedExample]
    global_batch_size: int
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

    def batch(self, indices: Sequence[int], draw_step: int) -> tuple[WeigherBatch, list[Draw]]:
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
        lengths = [drawn.prefix_length for drawn in draws]
        return collate_masked(chosen, lengths, self.pad_id), draws


def hold_back(
    question_ids: Sequence[str], fraction: float, most: int, seed: int
) -> tuple[list[int], list[int]]:
    """Split rationales into training and validation by a seeded hash of their question's id.

    At least one is held back; a single rationale serves as both.

    Returns:
        Indices to train on, and indices held back.
    """
    order = sorted(range(len(question_ids)), key=lambda i: _hash(seed, question_ids[i]))
    if len(order) == 1:
        return order, order
    num_held = min(most, max(1, round(len(order) * fraction)), len(order) - 1)
    return order[num_held:], order[:num_held]


def _hash(seed: int, question_id: str) -> str:
    return hashlib.sha256(f"{seed}/{question_id}".encode()).hexdigest()
