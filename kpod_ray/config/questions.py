"""Settings of the questions: generated arithmetic, a file, or a data set of the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config, Line, Seed

MOST_TERSE_STEPS = 5
"""Most reasoning steps of a generated question with a terse rationale."""


class ColumnsConfig(Config):
    """Names of the columns in a file of questions or rationales. Optional columns may be missing.

    None looks for the setting's own name and for other names that data sets use, in any case; where two
    of the other names occur, the setting must name the column.
    """

    id: Line | None = None
    """Question id, unique among the questions. None takes ``id``; in a file without that column, the id
    is a hash of the question and its choices."""
    question: Line | None = None
    """Question text. None takes ``question``, ``problem``, ``prompt``, ``instruction`` (followed by
    ``input``), ``query`` or ``input``."""
    messages: Line | None = None
    """Conversation, whose last reply is the rationale and whose user turn before the reply is the
    question. None takes ``messages``, ``conversations`` or ``conversation`` in a file of questions
    without a question, or of rationales without a rationale."""
    answer: Line | None = None
    """Gold answer. None takes ``answer``, ``final_answer``, ``ground_truth`` or ``target``, or else a
    solution with the answer in it: ``solution``, ``output``, ``response`` or ``completion``."""
    choices: Line = "choices"
    """List of the answer options of a multiple-choice question (optional)."""
    split: Line = "split"
    """``train`` or ``test`` (optional; ``train`` if missing)."""
    rationale: Line | None = None
    """Text of a rationale: the reference rationale in a file of questions (optional), the teacher's
    rationale in a file of rationales. None takes ``rationale``, ``reasoning``, ``solution``, ``output``,
    ``response`` or ``completion``."""
    teacher_answer: Line = "teacher_answer"
    """Answer that was extracted from the teacher's text (optional, files of rationales only)."""
    finish_reason: Line = "finish_reason"
    """Reason for the end of generation, such as ``stop`` (optional, files of rationales only)."""


class QuestionSeeds(Config):
    """Seeds of the draws of questions. A comparison sets them to draw new training questions."""

    train_seed: Seed | None = None
    """Seed of the training questions. Generated questions: None takes the run's ``seed``. Questions of a
    file or a data set: the seed draws ``limit`` of the training questions; None takes the first ones."""
    test_seed: Seed | None = None
    """Seed of the test questions: of generated ones, or of the choice of ``test_fraction``; None takes
    the run's ``seed``."""


class ArithmeticQuestions(QuestionSeeds):
    """Generated arithmetic word problems with reference rationales. No download is needed."""

    source: Literal["arithmetic"] = "arithmetic"
    num_train: int = Field(96, ge=1, le=1_000_000)
    """Number of training questions."""
    num_test: int = Field(48, ge=0, le=1_000_000)
    """Number of test questions; no test question repeats a training question."""
    style: Literal["terse", "verbose"] = "terse"
    """Style of the reference rationales. ``terse``: short sentences, of whose tokens keypoints are about
    40 %. ``verbose``: 9 to 15 words of filler around each equation, in many phrasings, so that keypoints
    are about a quarter; every question is a chain of events of different people, with numbers of at most
    20."""
    min_steps: int = Field(1, ge=1, le=8)
    """Fewest reasoning steps of a question."""
    max_steps: int = Field(5, ge=1, le=8)
    """Most reasoning steps of a question: 5, or 8 with ``style: verbose``."""
    largest_result: int = Field(999, ge=50, le=1_000_000_000)
    """Largest result of a reasoning step with ``style: terse``; a smaller limit makes the arithmetic
    easier."""

    @model_validator(mode="after")
    def _check_steps(self) -> ArithmeticQuestions:
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps is larger than max_steps")
        if self.style == "terse" and self.max_steps > MOST_TERSE_STEPS:
            raise ValueError(
                f"max_steps over {MOST_TERSE_STEPS} needs style: verbose, which allows up to 8"
            )
        default = type(self).model_fields["largest_result"].default
        if self.style == "verbose" and self.largest_result != default:
            raise ValueError(
                "largest_result is for style: terse; the numbers of verbose questions are at most 20"
            )
        return self


class SplitConfig(QuestionSeeds):
    """Reading of a file or data set, and its split into training and test questions."""

    limit: int | None = Field(None, ge=1)
    """Number of training questions to use, from the start of the file unless ``train_seed`` draws them;
    None uses all."""
    test_fraction: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training questions moved to the test split, chosen by a seeded hash of the id."""
    answer_separator: str | None = Field(None, min_length=1)
    """Text before the answer in the answer column (GSM8K: ``####``). The text before the separator is
    the reference rationale. None: the column holds only the answer, or a solution with the answer in its
    last line after ``####`` or in a LaTeX box."""
    allow_missing_answers: bool = False
    """Whether training questions may have no answer, which needs a teacher with
    ``filters.self_consistency``. ``false`` counts rows without an answer as unusable."""
    answer_kind: Literal["number", "boolean", "text"] = "number"
    """Kind of the answers of questions without an answer and without choices."""
    max_bad_fraction: float = Field(0.0, ge=0, lt=1)
    """Largest tolerated fraction of unusable rows, which are left out and counted. A larger fraction is
    an error."""
    test_duplicates: Literal["keep", "drop"] = "keep"
    """What happens to training questions that are equal or nearly equal to a test question (same
    numbers, same answer, similar words); ``drop`` leaves them out. The report gives their number."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of the columns."""

    @model_validator(mode="after")
    def _check_draw(self) -> SplitConfig:
        if self.train_seed is not None and self.limit is None:
            raise ValueError("train_seed draws limit of the training questions; set limit")
        return self


class FileQuestions(SplitConfig):
    """Questions from a JSON Lines, JSON, CSV, TSV or Parquet file."""

    source: Literal["file"]
    path: Line
    """File of the questions, which ends in ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet``."""
    test_path: Line | None = None
    """File whose questions are all test questions; None is no such file."""


class HubQuestions(SplitConfig):
    """Questions from a data set of the Hugging Face hub (needs the hub or its local cache)."""

    source: Literal["hub"]
    dataset: Line
    """Name of the data set on the hub, such as ``openai/gsm8k``."""
    subset: Line | None = None
    """Configuration of the data set, such as ``main``; None takes the default configuration."""
    revision: Line | None = None
    """Commit or tag of the data set; None takes the newest version, which may change between runs."""
    train_split: Line = "train"
    """Split of the data set with the training questions."""
    test_split: Line | None = "test"
    """Split of the data set with the test questions; None is no such split."""


QuestionsConfig = Annotated[
    ArithmeticQuestions | FileQuestions | HubQuestions, Field(discriminator="source")
]
