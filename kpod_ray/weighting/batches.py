"""Batches for the token weighter and the answer predictor.

A sequence of the answer predictor holds a question, a prefix of the question's rationale, the closing
words and the answer. The rationale tokens of the prefix are masked later, by the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from kpod_ray.algorithm.steps import split_steps, steps_of_tokens
from kpod_ray.data.batches import padded
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.prompts import CLOSING, Template, encode_prompt
from kpod_ray.data.token_kinds import token_kinds
from kpod_ray.data.tokens import encode_text, has_control_tokens
from kpod_ray.records import Question


@dataclasses.dataclass(frozen=True, slots=True)
class MaskedExample:
    """One tokenised question with its rationale and answer.

    The answer is in the vocabulary of the answer predictor, everything else in the student's.
    """

    question_id: str
    prompt_ids: list[int]
    """The question, rendered by the student's template."""
    rationale_ids: list[int]
    """Token ids of the rationale, without special tokens."""
    rationale_kinds: list[int]
    """Kind of each rationale token, from `token_kinds`, for the quality metrics."""
    closing_ids: list[int]
    """The words between rationale and answer."""
    answer_ids: list[int]
    """The answer and an end token, in the vocabulary of the answer predictor."""
    step_ends: list[int]
    """Number of rationale tokens up to the end of each reasoning step, ascending."""


class Prefix(NamedTuple):
    """A prefix of one rationale of a batch."""

    row: int
    """Row of the rationale in the batch."""
    length: int
    """Number of tokens of the prefix, k of Eq. 5, from 0 to the rationale's length."""
    share: float
    """Weight of the prefix in the rationale's mean answer loss; a rationale's shares in a batch sum to
    1."""


@dataclasses.dataclass(frozen=True)
class MaskedSequences:
    """S right-padded sequences of question, rationale prefix, closing words and answer.

    The tensors are int64 unless stated otherwise, and all on one device.
    """

    input_ids: Tensor
    """[S, L] token ids; the answer in the predictor's vocabulary, the rest in the student's."""
    attention_mask: Tensor
    """[S, L], 1 where a token exists, 0 at padding."""
    is_answer: Tensor
    """[S, L] bool, whether a token belongs to the answer."""
    prefix_starts: Tensor
    """[S], column of the first token of the rationale prefix."""
    prefix_lengths: Tensor
    """[S], number of tokens of the rationale prefix, k of Eq. 5."""
    rationale_rows: Tensor
    """[S], row of the sequence's rationale in the batch."""
    shares: Tensor
    """[S], float32, weight of the sequence in the rationale's mean answer loss."""

    def in_prefix(self) -> Tensor:
        """Return whether each column is a token of the rationale prefix, [S, L] bool."""
        columns = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        offsets = columns[None] - self.prefix_starts[:, None]
        return (offsets >= 0) & (offsets < self.prefix_lengths[:, None])

    def part(self, start: int, stop: int) -> MaskedSequences:
        """Return the sequences from index ``start`` up to ``stop`` (excluded) or the end, as views.

        Columns of padding stay, and ``rationale_rows`` still refers to the rows of the whole batch.
        """
        fields = dataclasses.fields(self)
        return MaskedSequences(**{f.name: getattr(self, f.name)[start:stop] for f in fields})

    def to(self, device: torch.device) -> MaskedSequences:
        """Return the sequences with the tensors on a device; tensors already there are shared."""
        fields = dataclasses.fields(self)
        return MaskedSequences(**{f.name: getattr(self, f.name).to(device) for f in fields})


@dataclasses.dataclass(frozen=True)
class MaskedBatch:
    """B right-padded rationales for the weighter, and S sequences for the answer predictor."""

    rationale_ids: Tensor
    """[B, R], int64, token ids of the whole rationales."""
    rationale_mask: Tensor
    """[B, R] bool, True where a token exists, False at padding."""
    sequences: MaskedSequences
    """At least one sequence for each rationale; the shares of a rationale's sequences sum to 1."""

    def to(self, device: torch.device) -> MaskedBatch:
        """Return the batch with the tensors on a device; tensors already there are shared."""
        rationales = self.rationale_ids.to(device), self.rationale_mask.to(device)
        return MaskedBatch(*rationales, self.sequences.to(device))


def build_masked_example(
    tokenizer: Any,
    question: Question,
    rationale: str,
    template: Template,
    answer_ids: list[int],
    *,
    split_newlines: bool,
) -> MaskedExample:
    """Tokenise a question and its rationale for the weighter and the answer predictor.

    The texts aren't truncated. The choices of a multiple-choice question are left out: a predictor that
    sees the choices guesses among the letters, and no mask changes its loss.

    Args:
        tokenizer: fast tokenizer of the student, which gives character offsets.
        question: the question.
        rationale: text of the rationale, not empty.
        template: how the question is rendered.
        answer_ids: the answer in the predictor's vocabulary, from `continued_answer` or
            `decoded_answer`; kept without a copy.
        split_newlines: whether newlines end reasoning steps.

    Raises:
        KpodError: The template is ``chat``, and the tokenizer has no chat template.
    """
    rationale_ids, starts, ends = encode_with_spans(tokenizer, rationale)
    closing = tokenizer(f" {CLOSING.rstrip()}", add_special_tokens=False).input_ids
    step_starts = [start for start, _ in split_steps(rationale, split_newlines=split_newlines)]
    steps = steps_of_tokens(starts, step_starts)
    return MaskedExample(
        question_id=question.id,
        prompt_ids=encode_prompt(tokenizer, question.question, template),
        rationale_ids=rationale_ids,
        rationale_kinds=token_kinds(rationale, starts.tolist(), ends.tolist()).tolist(),
        closing_ids=closing,
        answer_ids=answer_ids,
        step_ends=np.searchsorted(steps, np.unique(steps), side="right").tolist(),
    )


def continued_answer(tokenizer: Any, answer: str) -> list[int]:
    """Tokenise an answer with the tokenizer of a causal predictor, as the end of a student's target.

    A blank is put before the answer; a full stop and the end-of-sequence token follow. Without an end, a
    wrong answer that begins like the right one would have the same loss.
    """
    return [*encode_text(tokenizer, f" {answer}.").ids, tokenizer.eos_token_id]


def decoded_answer(tokenizer: Any, answer: str) -> list[int]:
    """Tokenise an answer with the tokenizer of an encoder-decoder predictor, special tokens included."""
    if not has_control_tokens(tokenizer, answer):
        ids: list[int] = tokenizer(answer).input_ids
        return ids
    before, after = tokenizer("").input_ids[:-1], tokenizer("").input_ids[-1:]
    return [*before, *encode_text(tokenizer, answer).ids, *after]


def collate_masked(
    examples: Sequence[MaskedExample], prefixes: Sequence[Prefix], pad_id: int
) -> MaskedBatch:
    """Pad examples and rationale prefixes into a batch, on the CPU.

    Args:
        examples: B examples, at least one.
        prefixes: S prefixes, in any order, at least one of each example's rationale; prefix s gives
            sequence s of the batch.
        pad_id: token id of padding in the student's vocabulary.
    """
    rationale_ids, rationale_mask = padded([e.rationale_ids for e in examples], pad_id)
    sequences = []
    num_before = []
    for prefix in prefixes:
        example = examples[prefix.row]
        kept = example.rationale_ids[: prefix.length]
        context = [*example.prompt_ids, *kept, *example.closing_ids]
        sequences.append([*context, *example.answer_ids])
        num_before.append(len(context))
    input_ids, attention_mask = padded(sequences, pad_id)
    columns = torch.arange(input_ids.shape[1])[None]
    return MaskedBatch(
        rationale_ids=rationale_ids,
        rationale_mask=rationale_mask.bool(),
        sequences=MaskedSequences(
            input_ids=input_ids,
            attention_mask=attention_mask,
            is_answer=attention_mask.bool() & (columns >= torch.tensor(num_before)[:, None]),
            prefix_starts=torch.tensor([len(examples[p.row].prompt_ids) for p in prefixes]),
            prefix_lengths=torch.tensor([prefix.length for prefix in prefixes]),
            rationale_rows=torch.tensor([prefix.row for prefix in prefixes]),
            shares=torch.tensor([prefix.share for prefix in prefixes]),
        ),
    )
