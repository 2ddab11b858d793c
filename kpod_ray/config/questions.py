"""Where the questions come from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config


class ColumnsConfig(Config):
    """Names of the columns in a file of questions or rationales; a missing optional column is empty."""

    id: str = "id"
    """Question id, unique among the questions."""
    question: str = "question"
    """Question text."""
    answer: str = "answer"
    """Gold answer."""
    choices: str = "choices"
    """Answer options of a multiple-choice question (optional)."""
    split: str = "split"
    """``train`` or ``test`` (optional, else ``train``)."""
    rationale: str = "rationale"
    """Rationale text: the reference of a question (optional), the teacher's in a rationale file."""
    teacher_answer: str = "teacher_answer"
    """Answer already extracted from the teacher's text (optional, rationale files only)."""
    finish_reason: str = "finish_reason"
    """Why generation ended (optional, rationale files only)."""


class ArithmeticQuestions(Config):
    """Arithmetic word problems made on the spot, with reference rationales; needs no download."""

    source: Literal["arithmetic"] = "arithmetic"
    num_train: int = Field(96, ge=1)
    """Training questions."""
    num_test: int = Field(48, ge=0)
    """Test questions; no test question repeats a training question."""
    min_steps: int = Field(1, ge=1, le=5)
    """Fewest reasoning steps of a question."""
    max_steps: int = Field(5, ge=1, le=5)
    """Most reasoning steps of a question."""
    largest_result: int = Field(999, ge=50)
    """Largest result of a reasoning step: the smaller, the easier the arithmetic."""

    @model_validator(mode="after")
    def _check_steps(self) -> ArithmeticQuestions:
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps is larger than max_steps")
        return self


class SplitConfig(Config):
    """Which part of a file or a data set is trained on and which is evaluated on."""

    limit: int | None = Field(None, ge=1)
    """Only the first so many training questions, in the file's order; None takes all."""
    test_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the training questions moved to the test split, chosen by a seeded hash of the id."""
    answer_separator: str | None = None
    """Mark before the answer inside the answer column (GSM8K: ``####``); the text before it is the
    reference rationale. None: the column holds the answer alone."""
    allow_missing_answers: bool = False
    """Whether rows without an answer are training questions, for a teacher with
    ``filters.self_consistency``; else they are unusable."""
    answer_kind: Literal["number", "boolean", "text"] = "number"
    """What the answers of such rows are, unless they have choices."""
    max_bad_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of unusable rows that is tolerated: they are set aside and counted. Beyond it: error."""
    columns: ColumnsConfig = ColumnsConfig()
    """Column names."""


class FileQuestions(SplitConfig):
    """Questions from a JSON Lines or Parquet file."""

    source: Literal["file"]
    path: str
    """The file; the format is told by its ending, ``.jsonl`` or ``.parquet``."""
    test_path: str | None = None
    """A second file whose questions are the test split."""


class HubQuestions(SplitConfig):
    """Questions from a Hugging Face data set by name (needs the hub, or its local cache)."""

    source: Literal["hub"]
    dataset: str
    """Name on the hub, such as ``openai/gsm8k``."""
    subset: str | None = None
    """Configuration of the data set, such as ``main``."""
    revision: str | None = None
    """Commit or tag of the data set; None takes the newest, which may change under you."""
    train_split: str = "train"
    """The data set's split to train on."""
    test_split: str | None = "test"
    """The data set's split to evaluate on."""


QuestionsConfig = Annotated[
    ArithmeticQuestions | FileQuestions | HubQuestions, Field(discriminator="source")
]
