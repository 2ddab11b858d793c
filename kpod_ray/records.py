"""The rows that phases hand to each other: frozen dataclasses, each with one Arrow schema.

Token weights and reasoning steps are kept as character spans of the rationale's text, so that they
survive another tokenizer, a chat template, truncation and packing. A span is ``[start, end)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa

AnswerKind = Literal["number", "choice", "boolean", "text"]
Split = Literal["train", "test"]
Verdict = Literal[
    "kept",
    "reference",
    "surplus",
    "duplicate",
    "leaked",
    "too_short",
    "overlength",
    "minority",
    "wrong",
    "no_answer",
    "truncated",
    "empty",
    "unreadable",
    "unknown_question",
    "error",
]
"""What became of a rationale; `VERDICT_MEANINGS` says what each is."""
VERDICT_MEANINGS: Mapping[str, str] = {
    "kept": "correct: goes on to the weighter",
    "reference": "no correct one from the teacher: the question's own stands in",
    "surplus": "correct, but others of its question were chosen",
    "duplicate": "correct, but (nearly) the same as an earlier one of its question",
    "leaked": "states its answer before any reasoning, or without any",
    "too_short": "fewer reasoning steps or tokens than asked for",
    "overlength": "more reasoning steps or tokens than asked for",
    "minority": "too few other samples agree with its answer",
    "wrong": "the answer is not the gold answer",
    "no_answer": "no answer could be found in the text",
    "truncated": "cut off at the token limit",
    "empty": "nothing but white space",
    "unreadable": "control characters, undecodable, or far too long",
    "unknown_question": "belongs to no training question",
    "error": "generation failed",
}
"""Verdict -> its meaning, for reports and the terminal."""
USED_VERDICTS: tuple[Verdict, ...] = ("kept", "reference")
"""Verdicts of the rationales that the weighter and the student train on."""
_SPANS = pa.list_(pa.int32())


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [tuple(v) if v is not None else v for v in values] if pa.types.is_list(kind) else values


class Record:
    """A row with a schema. Sequences become tuples when a row is read back."""

    schema: ClassVar[pa.Schema]

    @classmethod
    def to_table(cls, rows: Iterable[Self]) -> pa.Table:
        """Return the rows as an Arrow table of this record's schema."""
        names = cls.schema.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            for name in names:
                columns[name].append(getattr(row, name))
        return pa.table(columns, schema=cls.schema)

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """Return the rows of an Arrow table; further columns are left out."""
        columns = [_values(table[name], cls.schema.field(name).type) for name in cls.schema.names]
        return [cls(*values) for values in zip(*columns, strict=True)]


@dataclasses.dataclass(frozen=True, slots=True)
class Question(Record):
    """x and y: a question with its gold answer."""

    id: str
    question: str
    answer: str
    """A plain number, a letter of the choices, ``yes``/``no``, or short text; empty for a training
    question whose answer the teacher's samples are to agree on."""
    kind: AnswerKind
    choices: Sequence[str]
    """Options of a multiple-choice question in the order of their letters, else empty."""
    split: Split
    reference_rationale: str
    """A rationale that came with the question, else empty."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "question": pa.string(),
            "answer": pa.string(),
            "kind": pa.string(),
            "choices": pa.list_(pa.string()),
            "split": pa.string(),
            "reference_rationale": pa.string(),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Rationale(Record):
    """One sample of the teacher, with what became of it."""

    id: str
    """``<question id>/<sample index>``, unique."""
    question_id: str
    """The question. Where several rationales of a question go on, each but the first belongs to a
    copy of the question with the id ``<question id>#<sample index>``."""
    sample_index: int
    text: str
    """Reasoning without its closing answer sentence."""
    teacher: str
    finish_reason: str
    """``stop``, ``length`` or what the source says; empty when unknown."""
    num_tokens: int
    """Generated tokens; 0 when unknown."""
    predicted_answer: str
    """Answer extracted from the teacher's whole text, else empty."""
    verdict: Verdict
    logprob: float | None = None
    """Log-probability of the generated text under the teacher, in nats; None when unknown."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "question_id": pa.string(),
            "sample_index": pa.int32(),
            "text": pa.string(),
            "teacher": pa.string(),
            "finish_reason": pa.string(),
            "num_tokens": pa.int32(),
            "predicted_answer": pa.string(),
            "verdict": pa.string(),
            "logprob": pa.float64(),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class WeightedRationale(Record):
    """The kept rationale of a question with its keypoint weights and reasoning steps."""

    question_id: str
    text: str
    token_starts: Sequence[int]
    token_ends: Sequence[int]
    token_weights: Sequence[float]
    """w of Eq. 3 for the token of each span, from 0 to 1."""
    step_starts: Sequence[int]
    step_ends: Sequence[int]
    """Reasoning steps, adjoining and covering the whole text."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "text": pa.string(),
            "token_starts": _SPANS,
            "token_ends": _SPANS,
            "token_weights": pa.list_(pa.float32()),
            "step_starts": _SPANS,
            "step_ends": _SPANS,
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StepDifficulty(Record):
    """d of Eq. 8 for every reasoning step of a question's rationale, in nats."""

    question_id: str
    step_difficulties: Sequence[float]
    uniform_step_difficulties: Sequence[float]
    """The same with equal weights inside a step."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "step_difficulties": pa.list_(pa.float32()),
            "uniform_step_difficulties": pa.list_(pa.float32()),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StageRow(Record):
    """c_i(t): how many leading reasoning steps a question is given at a stage.

    A question that takes no part in a stage has no row for it.
    """

    question_id: str
    stage: int
    """0 is the starting state, 1 the first epoch."""
    num_given_steps: int

    schema: ClassVar[pa.Schema] = pa.schema(
        {"question_id": pa.string(), "stage": pa.int32(), "num_given_steps": pa.int32()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StepLosses(Record):
    """Weighted mean loss of every reasoning step of a question in a stage's training, in nats."""

    question_id: str
    step_losses: Sequence[float]
    """As in Eq. 8, under the student as it was at each train step; NaN where a step was given."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {"question_id": pa.string(), "step_losses": pa.list_(pa.float32())}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction(Record):
    """A model's greedy answer to one test question."""

    question_id: str
    text: str
    finish_reason: str
    num_tokens: int
    predicted_answer: str
    gold_answer: str
    is_correct: bool

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "num_tokens": pa.int32(),
            "predicted_answer": pa.string(),
            "gold_answer": pa.string(),
            "is_correct": pa.bool_(),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationRequest(Record):
    """One text to generate."""

    id: str
    text: str
    """The question as a model reads it."""
    seed: int
    """Seed of this sample, below 2^31."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {"id": pa.string(), "text": pa.string(), "seed": pa.int64()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Completion(Record):
    """One generated text; ``finish_reason`` ``error`` means that the text is an error message."""

    id: str
    text: str
    finish_reason: str
    num_tokens: int
    num_prompt_tokens: int = 0
    """Tokens of the prompt; 0 when unknown."""
    logprob: float | None = None
    """Log-probability of the text, summed over its tokens, in nats; None when unknown."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "id": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "num_tokens": pa.int32(),
            "num_prompt_tokens": pa.int32(),
            "logprob": pa.float64(),
        }
    )
