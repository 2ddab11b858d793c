"""What the answer predictor reads: questions with a prefix of their masked rationale, in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kpod_ray.data.batches import padded
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.prompts import CLOSING, Template, encode_prompt, question_text
from kpod_ray.records import Question
from kpod_ray.weighting.quality import token_kinds


@dataclasses.dataclass(frozen=True, slots=True)
class MaskedExample:
    """A question and its rationale in the student's tokens, the answer in the predictor's."""

    question_id: str
    prompt_ids: list[int]
    rationale_ids: list[int]
    rationale_kinds: list[int]
    """Kind of each rationale token, by which the weights are judged."""
    closing_ids: list[int]
    answer_ids: list[int]


class Prefix(NamedTuple):
    """A prefix of one rationale of a batch."""

    row: int
    length: int
    """k of Eq. 5, from 1 to the rationale's length."""
    share: float
    """What its answer loss counts in its rationale's mean; 1 in all over a rationale."""


@dataclasses.dataclass(frozen=True)
class MaskedSequences:
    """S right-padded sequences: question, rationale prefix, closing words, answer."""

    input_ids: Tensor
    """[S, L]; the answer in the predictor's vocabulary, all before it in the student's."""
    attention_mask: Tensor
    """[S, L]."""
    is_answer: Tensor
    """[S, L] bool."""
    prefix_starts: Tensor
    """[S], where the rationale prefix begins."""
    prefix_lengths: Tensor
    """[S], k of Eq. 5."""
    rationale_rows: Tensor
    """[S], row of each one's rationale in the batch."""
    shares: Tensor
    """[S], share of each in its rationale's mean answer loss."""

    def part(self, start: int, stop: int) -> MaskedSequences:
        """Return some of the sequences."""
        fields = dataclasses.fields(self)
        return MaskedSequences(**{f.name: getattr(self, f.name)[start:stop] for f in fields})

    def to(self, device: torch.device) -> MaskedSequences:
        """Return them on another device."""
        fields = dataclasses.fields(self)
        return MaskedSequences(**{f.name: getattr(self, f.name).to(device) for f in fields})


@dataclasses.dataclass(frozen=True)
class MaskedBatch:
    """B right-padded rationales, and the sequences in which they are masked."""

    rationale_ids: Tensor
    """[B, R], the whole rationale of each example."""
    rationale_mask: Tensor
    """[B, R] bool, where a rationale token exists."""
    sequences: MaskedSequences

    def to(self, device: torch.device) -> MaskedBatch:
        """Return the batch on another device."""
        rationales = self.rationale_ids.to(device), self.rationale_mask.to(device)
        return MaskedBatch(*rationales, self.sequences.to(device))


def build_masked_example(
    tokenizer: Any, question: Question, rationale: str, template: Template, answer_ids: list[int]
) -> MaskedExample:
    """Tokenise the pieces of the predictor's input.

    Args:
        tokenizer: the student's.
        question: question to be answered.
        rationale: text that is masked.
        template: how the question is rendered.
        answer_ids: from `continued_answer` or `decoded_answer`.
    """
    rationale_ids, starts, ends = encode_with_spans(tokenizer, rationale)
    closing = tokenizer(f" {CLOSING.rstrip()}", add_special_tokens=False).input_ids
    return MaskedExample(
        question_id=question.id,
        prompt_ids=encode_prompt(tokenizer, question_text(question), template),
        rationale_ids=rationale_ids,
        rationale_kinds=token_kinds(rationale, starts.tolist(), ends.tolist()).tolist(),
        closing_ids=closing,
        answer_ids=answer_ids,
    )


def continued_answer(tokenizer: Any, answer: str) -> list[int]:
    """Return the answer as a causal model continues a sentence with it."""
    ids: list[int] = tokenizer(f" {answer}", add_special_tokens=False).input_ids
    return ids


def decoded_answer(tokenizer: Any, answer: str) -> list[int]:
    """Return the answer as a decoder writes it: alone, with the tokenizer's own end."""
    ids: list[int] = tokenizer(answer).input_ids
    return ids


def collate_masked(
    examples: Sequence[MaskedExample], prefixes: Sequence[Prefix], pad_id: int
) -> MaskedBatch:
    """Pad examples into a batch with the given rationale prefixes."""
    rationale_ids, rationale_mask = padded([e.rationale_ids for e in examples], pad_id)
    sequences, num_before = [], []
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
