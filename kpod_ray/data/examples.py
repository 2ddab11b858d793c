"""A tokenised training example: prompt, target, and for every target token its weight and step.

Character spans are mapped to the student's tokens here, once. A stage only moves the boundary of the
loss: an example with ``num_given_steps`` c has its loss on the tokens whose step is at least c.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kpod_ray.algorithm.steps import steps_of_tokens
from kpod_ray.config import StudentConfig
from kpod_ray.data.prompts import Template, encode_prompt, question_text, target_text
from kpod_ray.records import Question, Record, WeightedRationale


@dataclasses.dataclass(frozen=True, slots=True)
class Example(Record):
    """One question with its rationale and answer, tokenised for one student."""

    question_id: str
    prompt_ids: Sequence[int]
    target_ids: Sequence[int]
    """Rationale, closing words, gold answer and the end-of-sequence token."""
    token_weights: Sequence[float]
    """Of every target token: w of Eq. 3 in the rationale, 1 in the answer segment."""
    token_steps: Sequence[int]
    """Of every target token: its 0-based reasoning step; ``num_steps`` in the answer segment."""
    num_steps: int

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "prompt_ids": pa.list_(pa.int32()),
            "target_ids": pa.list_(pa.int32()),
            "token_weights": pa.list_(pa.float32()),
            "token_steps": pa.list_(pa.int32()),
            "num_steps": pa.int32(),
        }
    )

    def num_tokens(self) -> int:
        """Length of the whole sequence."""
        return len(self.prompt_ids) + len(self.target_ids)


def build_example(
    tokenizer: Any, question: Question, rationale: WeightedRationale, template: Template
) -> Example:
    """Tokenise a question and its weighted rationale as the student reads and writes them."""
    text, answer_start = target_text(rationale.text, question.answer)
    ids, starts, ends = encode_with_spans(tokenizer, text)
    num_steps = len(rationale.step_starts)
    in_answer = starts >= answer_start
    steps = np.where(in_answer, num_steps, steps_of_tokens(starts, rationale.step_starts))
    weights = np.where(in_answer, 1.0, spread_weights(rationale, starts, ends))
    return Example(
        question_id=question.id,
        prompt_ids=encode_prompt(tokenizer, question_text(question), template),
        target_ids=[*ids, tokenizer.eos_token_id],
        token_weights=[*weights.tolist(), 1.0],
        token_steps=[*steps.tolist(), num_steps],
        num_steps=num_steps,
    )


def cut_example(example: Example, max_length: int) -> Example | None:
    """Return an example up to the last reasoning step that fits, without its answer.

    Returns:
        An example with fewer reasoning steps, at most ``max_length`` tokens long; None when not even
        the first step fits.
    """
    room, steps = max_length - len(example.prompt_ids), example.token_steps
    ends = [j for j in range(1, len(steps)) if steps[j] != steps[j - 1] and j <= room]
    if not ends:
        return None
    end = ends[-1]
    return dataclasses.replace(
        example,
        target_ids=example.target_ids[:end],
        token_weights=example.token_weights[:end],
        token_steps=steps[:end],
        num_steps=steps[end - 1] + 1,
    )


def encode_with_spans(
    tokenizer: Any, text: str
) -> tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the token ids of a text and the character span of each token.

    A span starts at the token's first character that isn't white space: tokenizers differ in whether
    the blank before a word belongs to its span, and a word after a full stop is in the next step.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = np.array(encoded.offset_mapping, dtype=np.int64).reshape(-1, 2)
    starts, ends = spans[:, 0].copy(), spans[:, 1]
    for i, (start, end) in enumerate(spans.tolist()):
        piece = text[start:end]
        blanks = len(piece) - len(piece.lstrip())
        starts[i] = start + blanks if blanks < len(piece) else start
    return encoded.input_ids, starts, ends


def spread_weights(
    rationale: WeightedRationale, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return each span's mean token weight over the rationale's characters that it covers.

    An empty span, a blank whose offsets the tokenizer trims, gets the mean weight of the empty spans at
    its place. Another span that covers no weighted character gets the rationale's mean weight.
    """
    sums, counts = np.zeros(len(rationale.text) + 1), np.zeros(len(rationale.text) + 1)
    spans = zip(rationale.token_starts, rationale.token_ends, rationale.token_weights, strict=True)
    empty = dict[int, list[float]]()
    for start, end, weight in spans:
        sums[start:end] += weight
        counts[start:end] += 1
        if start == end:
            empty.setdefault(start, []).append(weight)
    last = len(rationale.text)
    totals = _range_sums(sums, starts, ends, last)
    covered = _range_sums(counts, starts, ends, last)
    mean = float(np.mean(rationale.token_weights)) if len(rationale.token_weights) else 1.0
    is_empty = (starts == ends).tolist()
    uncovered = [
        float(np.mean(empty[start])) if is_point and start in empty else mean
        for start, is_point in zip(starts.tolist(), is_empty, strict=True)
    ]
    return np.where(covered > 0, totals / np.maximum(covered, 1), uncovered)


def _range_sums(
    values: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    last: int,
) -> npt.NDArray[np.float64]:
    cumulative = np.concatenate([[0.0], np.cumsum(values)])
    return cumulative[np.minimum(ends, last)] - cumulative[np.minimum(starts, last)]


def training_example(example: Example, student: StudentConfig) -> Example:
    """Return an example as a student's settings want it trained on."""
    if student.token_weights == "uniform":
        example = dataclasses.replace(example, token_weights=[1.0] * len(example.target_ids))
    return answer_alone(example) if student.target == "answer" else example


def answer_alone(example: Example) -> Example:
    """Leave the rationale out: the answer segment follows the question at once."""
    kept = [j for j, step in enumerate(example.token_steps) if step >= example.num_steps]
    return dataclasses.replace(
        example,
        target_ids=[example.target_ids[j] for j in kept],
        token_weights=[example.token_weights[j] for j in kept],
        token_steps=[example.token_steps[j] for j in kept],
    )
