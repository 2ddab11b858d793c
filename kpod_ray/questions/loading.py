"""Load and check questions from files, the Hugging Face hub or the arithmetic generator.

Ids are unique over the train and the test split. Rows without an id get one from their content
(`content_id`), and equal ones of them are one question. A row that can't be used becomes a `BadRow`
with its file, its line and the reason. A fraction of bad rows above ``questions.max_bad_fraction``, or
an error of the source as a whole, raises a `KpodError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kpod_ray.config import (
    ArithmeticQuestions,
    FileQuestions,
    HubQuestions,
    QuestionsConfig,
    SplitConfig,
)
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.columns import names_of, question_columns
from kpod_ray.questions.contamination import Contamination, find_contamination
from kpod_ray.questions.content_ids import has_content_id
from kpod_ray.questions.rows import question_of
from kpod_ray.questions.splits import hash_fraction, in_test_split
from kpod_ray.records import Question, Split
from kpod_ray.storage.bad_rows import BadRow, place
from kpod_ray.storage.user_files import FieldError, file_hash, read_rows


@dataclasses.dataclass(frozen=True)
class LoadedQuestions:
    """The result of loading a question source."""

    questions: list[Question]
    """Usable questions, in the order of their rows; rows of the test source follow the others. Of
    arithmetic questions, the training questions come first."""
    bad_rows: list[BadRow]
    """Rows that can't be used, each with the reason."""
    contamination: list[Contamination] = dataclasses.field(default_factory=list)
    """Training questions that repeat a test question; with ``test_duplicates: drop`` they aren't in
    ``questions``."""
    num_repeats: int = 0
    """Rows without an id that were left out because they equal an earlier row, but for the rationale."""
    columns: Mapping[str, Mapping[str, str]] = dataclasses.field(
        default_factory=dict, compare=False
    )
    """Path of the file, or name and split of the data set -> its columns (`TableColumns.known`)."""


@dataclasses.dataclass(frozen=True)
class _Part:
    """The rows of one file, or of one split of a data set on the hub."""

    path: str
    """Path of the file, or name and split of the data set; used in error messages."""
    rows: Iterable[tuple[int, Mapping[str, Any] | BadRow]]
    """Line or row number, from 1, and the row."""
    split: Split | None
    """Split of all rows; None reads the split column of each row."""


def load_questions(config: QuestionsConfig, seed: int) -> LoadedQuestions:
    """Load the train and test questions of a config; only the source ``hub`` uses the network.

    The questions are those of `read_questions`. With ``test_duplicates: drop``, training questions that
    repeat a test question (`find_contamination`) are left out.

    Raises:
        KpodError: As in `read_questions`, or no training question is left.
    """
    loaded = read_questions(config, seed)
    questions = loaded.questions
    repeats = find_contamination(questions)
    if isinstance(config, ArithmeticQuestions):
        return dataclasses.replace(loaded, contamination=repeats)
    if config.test_duplicates == "drop":
        dropped = {repeat.train_id for repeat in repeats}
        questions = [question for question in questions if question.id not in dropped]
    if all(question.split == "test" for question in questions):
        raise KpodError(
            f"questions {_parts(config)[0].path}: no training question is left of {len(questions)}; "
            "check the split column, questions.test_fraction and questions.test_duplicates"
        )
    return dataclasses.replace(loaded, questions=questions, contamination=repeats)


def read_questions(config: QuestionsConfig, seed: int) -> LoadedQuestions:
    """Read the questions of a source with their splits, each of which may be empty.

    All rows of ``test_path`` are test questions; their split column is ignored. Rows of ``path`` are
    test questions if their split column is ``test``. Of a hub data set, rows of ``test_split`` are test
    questions, rows of ``train_split`` aren't. Of the other questions with an answer, about the fraction
    ``test_fraction`` becomes test questions, chosen by a hash of id and seed (see `in_test_split`).
    Then all training questions but ``limit`` are left out (the first ones stay, or those that
    ``train_seed`` draws). ``test_seed`` and ``train_seed`` have priority over ``seed``, which also
    determines arithmetic questions.

    A test question without an answer is a bad row. A row without an id gets a `content_id`; if its
    question was already read, it is left out and counted, or a bad row if its answer is another one.
    Questions aren't compared otherwise: the field ``contamination`` of the result is empty.

    Raises:
        KpodError: A file doesn't exist, has another ending than ``.jsonl`` and ``.parquet``, or can't be
            read; the data set can't be loaded; two columns may both be the question or the answer, or
            none is the question; two usable rows have the same id of their own; a larger fraction of
            the rows than ``max_bad_fraction`` can't be used; ``train_seed`` is to draw from no more than
            ``limit`` questions; or too many arithmetic questions are asked for (`generate_questions`).
    """
    if isinstance(config, ArithmeticQuestions):
        return LoadedQuestions(generate_questions(config, seed), [])
    loaded = _read(_parts(config), config)
    test_seed = seed if config.test_seed is None else config.test_seed
    questions = _with_test_split(loaded.questions, config.test_fraction, test_seed)
    return dataclasses.replace(loaded, questions=_limited(questions, config))


def content_hash(config: QuestionsConfig) -> str:
    """Return a text that identifies the content of a question source, for the fingerprint.

    The text is a hash of the bytes of ``path`` and ``test_path`` for files, and the configured revision
    for the hub, which isn't contacted. The text is empty without a revision, and for arithmetic
    questions, which the settings determine.

    Raises:
        KpodError: A file doesn't exist, is a folder, or can't be read.
    """
    if isinstance(config, HubQuestions):
        return config.revision or ""
    if isinstance(config, ArithmeticQuestions):
        return ""
    paths = [config.path] + ([config.test_path] if config.test_path else [])
    return hashlib.sha256("".join(file_hash(path) for path in paths).encode()).hexdigest()


def hub_rows(config: HubQuestions, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the row number, from 1, and the row, of every row in a split of a data set on the hub.

    ``split`` is the name of the split on the hub. The data set is downloaded, or read from the local
    cache, when the iteration starts.

    Raises:
        KpodError: The data set can't be loaded; raised when the iteration starts. Errors of the library
            ``datasets`` while rows are read pass through.
    """
    try:
        import datasets

        rows = datasets.load_dataset(
            config.dataset, config.subset, split=split, revision=config.revision
        )
    # Hub, network, cache and parsers raise errors of many types, all with the same remedy.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(
            f"questions: split {split!r} of data set {config.dataset!r} can't be loaded: {reason}; "
            "if the hub can't be reached, use source: file with a downloaded file"
        ) from error
    yield from enumerate(rows, 1)


def _parts(config: FileQuestions | HubQuestions) -> list[_Part]:
    """Return the parts of a file or data set; no row is read before the iteration."""
    return _file_parts(config) if isinstance(config, FileQuestions) else _hub_parts(config)


def _file_parts(config: FileQuestions) -> list[_Part]:
    """Return the rows of ``path`` and, if set, of ``test_path``."""
    parts = [_Part(config.path, read_rows(config.path), None)]
    if config.test_path is not None:
        parts.append(_Part(config.test_path, read_rows(config.test_path), "test"))
    return parts


def _hub_parts(config: HubQuestions) -> list[_Part]:
    """Return the rows of the train split and, if set, of the test split of a data set on the hub."""

    def part(name: str, split: Split) -> _Part:
        """Return the rows of one split of the data set, for use as a split of the questions."""
        return _Part(f"{config.dataset} {name}", hub_rows(config, name), split)

    parts = [part(config.train_split, "train")]
    if config.test_split is not None:
        parts.append(part(config.test_split, "test"))
    return parts


def _read(parts: Iterable[_Part], config: SplitConfig) -> LoadedQuestions:
    """Read all rows; raise a `KpodError` if ids aren't unique or bad rows are too many."""
    known = _Known()
    bad_rows: list[BadRow] = []
    columns: dict[str, Mapping[str, str]] = {}
    num_rows = 0
    for part in parts:
        names, rows = names_of(part.rows)
        found = question_columns(names, config.columns, f"questions {part.path}")
        columns[part.path] = found.known(names)
        for line, row in rows:
            num_rows += 1
            try:
                if isinstance(row, BadRow):
                    bad_rows.append(row)
                else:
                    question = question_of(row, config, found, part.split)
                    known.add(question, part.path, line)
            except FieldError as error:
                bad_rows.append(BadRow(part.path, line, str(error)))
    if len(bad_rows) > config.max_bad_fraction * num_rows:
        raise KpodError(
            f"questions {bad_rows[0]} ({len(bad_rows)} of {num_rows} rows can't be used, "
            f"questions.max_bad_fraction is {config.max_bad_fraction:g})"
        )
    questions = list(known.questions.values())
    return LoadedQuestions(questions, bad_rows, num_repeats=known.num_repeats, columns=columns)


class _Known:
    """The questions read so far, by id, with the place of each."""

    def __init__(self) -> None:
        self.questions: dict[str, Question] = {}
        self.places: dict[str, tuple[str, int]] = {}
        self.num_repeats = 0

    def add(self, question: Question, path: str, line: int) -> None:
        """Add a question; count one without an id of its own that was already added.

        Raises:
            KpodError: The id is a row's own and was already used.
            FieldError: The question has another answer than the same question of an earlier row.
        """
        earlier = self.questions.get(question.id)
        if earlier is None:
            self.questions[question.id] = question
            self.places[question.id] = (path, line)
        elif not has_content_id(question):
            raise KpodError(_duplicate(question.id, path, line, self.places[question.id]))
        elif question.answer != earlier.answer:
            first = place(*self.places[question.id]).removeprefix(f"{path} ")
            raise FieldError(
                f"the question is that of {first}, but the answer is {question.answer!r} and not "
                f"{earlier.answer!r}"
            )
        else:
            self.num_repeats += 1


def _duplicate(question_id: str, path: str, line: int, first: tuple[str, int]) -> str:
    """Return the error message for a repeated id; ``first`` is the path and line of its first use."""
    earlier = place(*first).removeprefix(f"{path} ")
    return (
        f"questions {place(path, line)}: id {question_id!r} was already used at {earlier}; "
        "ids must be unique"
    )


def _with_test_split(questions: list[Question], fraction: float, seed: int) -> list[Question]:
    """Move a fraction of the questions to the test split, by a hash of the id.

    Questions without a gold answer stay training questions: they can't be scored.
    """
    return [
        dataclasses.replace(question, split="test")
        if question.answer and in_test_split(question.id, fraction, seed)
        else question
        for question in questions
    ]


def _limited(questions: list[Question], config: SplitConfig) -> list[Question]:
    """Keep ``limit`` training questions, the first or the drawn ones, and all test questions."""
    if config.limit is None:
        return questions
    train = [question.id for question in questions if question.split == "train"]
    if config.train_seed is not None:
        if len(train) <= config.limit:
            raise KpodError(
                f"questions.train_seed draws questions.limit={config.limit} of the training questions, "
                f"of which there are {len(train)}; lower questions.limit"
            )
        train.sort(
            key=lambda question_id: hash_fraction(f"{config.train_seed}:train:{question_id}")
        )
    left_out = set(train[config.limit :])
    return [question for question in questions if question.id not in left_out]
