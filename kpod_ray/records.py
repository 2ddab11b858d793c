"""The rows of the tables that phases write and read: frozen dataclasses, each with an Arrow schema.

Spans are characters ``[start, end)`` of the rationale's text: they stay valid with another tokenizer, a
chat template, truncation and packing. A ``question_id`` is a `Question.id`.
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
    "too_long",
    "minority",
    "wrong",
    "no_answer",
    "truncated",
    "empty",
    "unreadable",
    "unknown_question",
    "error",
]
"""The result of filtering a rationale; `VERDICT_MEANINGS` explains each verdict."""
VERDICT_MEANINGS: Mapping[str, str] = {
    "kept": "correct, and used for training",
    "reference": "the question's own rationale, used because no sample was kept",
    "surplus": "correct, but other samples of the question were selected",
    "duplicate": "correct, but (nearly) equal to an earlier sample of the question",
    "leaked": "states the answer before any reasoning, or without any",
    "too_short": "fewer reasoning steps or tokens than the filters require",
    "too_long": "more characters, reasoning steps or tokens than the filters allow",
    "minority": "too few other samples agree with the answer",
    "wrong": "the answer is not the gold answer",
    "no_answer": "no answer could be found in the text",
    "truncated": "cut off at the token limit",
    "empty": "only white space",
    "unreadable": "control characters, or undecodable bytes",
    "unknown_question": "belongs to no training question",
    "error": "generation failed",
}
USED_VERDICTS: tuple[Verdict, ...] = ("kept", "reference")
"""Verdicts of the rationales that the token weighter and the student train on."""
_SPANS = pa.list_(pa.int32())


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [tuple(v) if v is not None else v for v in values] if pa.types.is_list(kind) else values


class Record:
    """A row of a table; base of the classes below, with one field for each column of ``schema``."""

    schema: ClassVar[pa.Schema]

    @classmethod
    def to_table(cls, rows: Iterable[Self]) -> pa.Table:
        """Return the rows, in order, as an Arrow table with this class's schema; ``rows`` may be empty.

        Raises:
            pa.ArrowException: A value has another type than its column, or is too large for the column.
            UnicodeEncodeError: A text holds an unpaired surrogate.
        """
        names = cls.schema.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            for name in names:
                columns[name].append(getattr(row, name))
        return pa.table(columns, schema=cls.schema)

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """Return the rows of an Arrow table, in order; sequences become tuples.

        Columns outside the schema are ignored, and the types of the columns aren't checked.

        Raises:
            KeyError: The table lacks a column of the schema.
        """
        columns = [_values(table[name], cls.schema.field(name).type) for name in cls.schema.names]
        return [cls(*values) for values in zip(*columns, strict=True)]


@dataclasses.dataclass(frozen=True, slots=True)
class Question(Record):
    """A question x with its gold answer y."""

    id: str
    """Unique id over both splits; ends in ``#<sample index>`` for a copy (`Rationale.question_id`)."""
    question: str
    """Text of the question, without the choices."""
    answer: str
    """Gold answer: a plain number, a letter of the choices, ``yes``/``no``, or a short text. Empty for a
    training question without a gold answer, which gets the majority answer of the teacher's samples."""
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

    def answer_text(self) -> str:
        """Return the gold answer; of a multiple-choice question, the text of the option."""
        if self.kind != "choice" or not self.answer:
            return self.answer
        return self.choices[ord(self.answer) - ord("A")]


@dataclasses.dataclass(frozen=True, slots=True)
class Rationale(Record):
    """One sample of the teacher with its verdict, or a question's reference rationale."""

    id: str
    """``<question id>/<sample index>``, or ``<question id>/reference``; unique."""
    question_id: str
    """Id of the question; kept rationales after the first belong to a copy ``<id>#<sample index>``."""
    sample_index: int
    """Number of the sample among the samples of the question, from 0; -1 for a reference rationale."""
    text: str
    """Reasoning without the closing answer sentence; the whole text of a sample with a fault."""
    teacher: str
    """Name of the teacher; ``reference`` for a reference rationale."""
    finish_reason: str
    """``stop``, ``length``, ``error`` or another word of the source; empty when unknown."""
    num_tokens: int
    """Generated tokens; 0 when unknown."""
    predicted_answer: str
    """Answer extracted from the whole text of the sample; empty if none was found."""
    verdict: Verdict
    logprob: float | None = None
    """Log-probability of the generated text, summed over its tokens, in nats; None when unknown."""
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
    """The rationale of a question with its token weights and reasoning steps."""

    question_id: str
    text: str
    """Text of the rationale, to which all spans refer."""
    token_starts: Sequence[int]
    token_ends: Sequence[int]
    """Start and end of each token's span, in two lists of equal length."""
    token_weights: Sequence[float]
    """Token weight w of Eq. 3 of each token, in [0, 1]."""
    step_starts: Sequence[int]
    step_ends: Sequence[int]
    """Start and end of each reasoning step; the steps cover the whole text without gaps."""
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
    """Step difficulty d of Eq. 8 of every reasoning step of a question's rationale, in nats."""

    question_id: str
    step_difficulties: Sequence[float]
    uniform_step_difficulties: Sequence[float]
    """Step difficulties with equal token weights inside each step."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "step_difficulties": pa.list_(pa.float32()),
            "uniform_step_difficulties": pa.list_(pa.float32()),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StageRow(Record):
    """Number of given steps c_i(t) of a question at a stage; a question not trained on has no row."""

    question_id: str
    stage: int
    """0 is the state before training; the first stage of training is 1."""
    num_given_steps: int
    """Leading reasoning steps put into the input, from 0 to the rationale's number of steps."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {"question_id": pa.string(), "stage": pa.int32(), "num_given_steps": pa.int32()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StepLosses(Record):
    """Weighted mean loss of every reasoning step of a question during a stage's training, in nats."""

    question_id: str
    step_losses: Sequence[float]
    """Loss as in Eq. 8 of each step at the train step with the question; NaN for a given step."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {"question_id": pa.string(), "step_losses": pa.list_(pa.float32())}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction(Record):
    """A model's greedy answer to one test question, compared with the gold answer."""

    question_id: str
    text: str
    """Generated text, without the prompt; the message of an error row."""
    finish_reason: str
    num_tokens: int
    predicted_answer: str
    """Answer extracted from the text; empty if none was found."""
    gold_answer: str
    is_correct: bool
    """Whether the two answers are equal (`answers_equal`); False without a predicted answer."""
    num_steps: int | None = None
    """Reasoning steps of the text without its closings; None for an error row, or if not counted."""
    num_gold_steps: int | None = None
    """Reasoning steps of the question's reference rationale without its closings; None if the question
    has none, or if they weren't counted."""
    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "num_tokens": pa.int32(),
            "predicted_answer": pa.string(),
            "gold_answer": pa.string(),
            "is_correct": pa.bool_(),
            "num_steps": pa.int32(),
            "num_gold_steps": pa.int32(),
        }
    )
