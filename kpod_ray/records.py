"""The rows of the tables that phases write and read: frozen dataclasses, each with an Arrow schema.

Token weights and reasoning steps are stored as spans of characters ``[start, end)`` of the rationale's
text. Character spans stay valid with another tokenizer, a chat template, truncation and packing.
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
    "too_long": "more reasoning steps or tokens than the filters allow",
    "minority": "too few other samples agree with the answer",
    "wrong": "the answer is not the gold answer",
    "no_answer": "no answer could be found in the text",
    "truncated": "cut off at the token limit",
    "empty": "only white space",
    "unreadable": "control characters, undecodable bytes, or far too long",
    "unknown_question": "belongs to no training question",
    "error": "generation failed",
}
"""Verdict -> the meaning of the verdict, for reports and the terminal."""
USED_VERDICTS: tuple[Verdict, ...] = ("kept", "reference")
"""Verdicts of the rationales that the token weighter and the student train on."""
_SPANS = pa.list_(pa.int32())
"""Arrow type of the starts or the ends of spans of characters."""


def _values(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return [tuple(v) if v is not None else v for v in values] if pa.types.is_list(kind) else values


class Record:
    """A row of a table; base of the classes below, with one field for each column of ``schema``."""

    schema: ClassVar[pa.Schema]

    @classmethod
    def to_table(cls, rows: Iterable[Self]) -> pa.Table:
        """Return the rows, in order, as an Arrow table with the schema of this class.

        Without rows, the table has the columns of the schema and no rows.

        Raises:
            pa.ArrowException: A value has another type than its column, or is too large for the column.
            UnicodeEncodeError: A text holds half a surrogate pair.
        """
        names = cls.schema.names
        columns: dict[str, list[Any]] = {name: [] for name in names}
        for row in rows:
            for name in names:
                columns[name].append(getattr(row, name))
        return pa.table(columns, schema=cls.schema)

    @classmethod
    def from_table(cls, table: pa.Table) -> list[Self]:
        """Return the rows of an Arrow table, in order; columns outside the schema are ignored.

        Sequences are read as tuples. Numbers of float32 columns are rounded to float32. The types of the
        columns aren't checked.

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
    """Kind of the answer, which determines how answers are extracted and compared."""
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
    """One sample of the teacher with its verdict, or a question's reference rationale."""

    id: str
    """``<question id>/<sample index>``, or ``<question id>/reference``; unique."""
    question_id: str
    """Id of the question. If several rationales of a question are kept, each rationale after the first
    belongs to a copy of the question with the id ``<question id>#<sample index>``."""
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
    """Log-probability of the generated text under the teacher, summed over its tokens, in nats; None
    when unknown."""

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
    """Id of the question; equal to `Rationale.question_id`, so that a copy has its own id."""
    text: str
    """Text of the rationale, to which all spans refer."""
    token_starts: Sequence[int]
    """First character of each token's span, from 0."""
    token_ends: Sequence[int]
    """End of each token's span in characters, excluded."""
    token_weights: Sequence[float]
    """Token weight w of Eq. 3 of each token, in [0, 1]."""
    step_starts: Sequence[int]
    """First character of each reasoning step; the steps cover the whole text without gaps."""
    step_ends: Sequence[int]
    """End of each reasoning step in characters, excluded."""

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
    """Id of the question; equal to `Rationale.question_id`."""
    step_difficulties: Sequence[float]
    """Step difficulty of each reasoning step in order, with the token weights of the weighting."""
    uniform_step_difficulties: Sequence[float]
    """Step difficulties with equal token weights inside each step, in nats."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "step_difficulties": pa.list_(pa.float32()),
            "uniform_step_difficulties": pa.list_(pa.float32()),
        }
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StageRow(Record):
    """The number of given steps c_i(t) of a question at a stage.

    Given steps are leading reasoning steps put into the input. A question that isn't trained on at a
    stage has no row for the stage.
    """

    question_id: str
    """Id of the question; equal to `Rationale.question_id`."""
    stage: int
    """0 is the state before training; the first stage of training is 1."""
    num_given_steps: int
    """Leading reasoning steps in the input, from 0 to the rationale's number of steps."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {"question_id": pa.string(), "stage": pa.int32(), "num_given_steps": pa.int32()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StepLosses(Record):
    """Weighted mean loss of every reasoning step of a question during a stage's training, in nats."""

    question_id: str
    """Id of the question; equal to `Rationale.question_id`."""
    step_losses: Sequence[float]
    """Loss of each step as in Eq. 8, of the student at the train step with the question; NaN for a
    given step."""

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
    """``stop``, ``length``, ``error`` or another word of the backend."""
    num_tokens: int
    """Generated tokens."""
    predicted_answer: str
    """Answer extracted from the text; empty if none was found."""
    gold_answer: str
    """`Question.answer` of the question."""
    is_correct: bool
    """Whether the two answers are equal (`answers_equal`); False without a predicted answer."""

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
    """The request to generate one text."""

    id: str
    """Id of the request, which the completion repeats; unique."""
    text: str
    """The question with its lettered choices (`question_text`), without worked examples and
    instructions."""
    seed: int
    """Seed of the sampling, from 0 to 2^31 - 1."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {"id": pa.string(), "text": pa.string(), "seed": pa.int64()}
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Completion(Record):
    """One generated text, or an error row: its finish reason is ``error``, its text the message."""

    id: str
    """Id of the request (`GenerationRequest.id`)."""
    text: str
    finish_reason: str
    """``stop``, ``length``, ``error`` or another word of the service."""
    num_tokens: int
    """Generated tokens; 0 when unknown."""
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
