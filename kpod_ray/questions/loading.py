"""Questions from the built-in generator, a file or the hub, as records that later code can trust.

Ids are unique over both splits. A row that can't be used is set aside with its place and reason;
more of them than the config bears, and anything wrong with the whole, is a `KpodError`.
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
from kpod_ray.questions.gold_answers import read_choice, read_choices, read_gold, split_answer
from kpod_ray.questions.splits import hash_fraction
from kpod_ray.records import AnswerKind, Question, Split
from kpod_ray.storage.user_files import (
    BadRow,
    FieldError,
    file_hash,
    id_field,
    optional_text_field,
    place,
    read_rows,
    text_field,
)

_SPLITS: Mapping[str, Split] = {"": "train", "train": "train", "all": "train", "test": "test"}


@dataclasses.dataclass(frozen=True)
class LoadedQuestions:
    """The usable questions in their order, and the rows that were set aside."""

    questions: list[Question]
    bad_rows: list[BadRow]


@dataclasses.dataclass(frozen=True)
class _Part:
    """Rows of one source."""

    path: str
    rows: Iterable[tuple[int, Mapping[str, Any] | BadRow]]
    split: Split | None
    """Split of all rows; None: the rows' own column tells."""


def load_questions(config: QuestionsConfig, seed: int) -> LoadedQuestions:
    """Return all questions of a config; the seed makes arithmetic ones and moves ``test_fraction``.

    All rows of ``test_path`` are test questions, whatever their split column says; rows of ``path``
    are when it says ``test``. Without ids, rows of the hub are numbered, rows of a file are bad.

    Raises:
        KpodError: A source can't be read, an id is used twice, too many rows are unusable, or no
            training question is left.
    """
    if isinstance(config, ArithmeticQuestions):
        return LoadedQuestions(generate_questions(config, seed), [])
    parts = _file_parts(config) if isinstance(config, FileQuestions) else _hub_parts(config)
    loaded = _read(parts, config)
    questions = _limited(_with_test_split(loaded.questions, config.test_fraction, seed), config)
    if all(question.split == "test" for question in questions):
        raise KpodError(
            f"questions {parts[0].path}: no training question is left of {len(questions)}; "
            "check the split column and questions.test_fraction"
        )
    return LoadedQuestions(questions, loaded.bad_rows)


def content_hash(config: QuestionsConfig) -> str:
    """Return what determines the questions beyond the settings.

    A hash of the files' bytes, the hub's revision if one is set, else empty.

    Raises:
        KpodError: A file is missing.
    """
    if isinstance(config, HubQuestions):
        return config.revision or ""
    if isinstance(config, ArithmeticQuestions):
        return ""
    paths = [config.path] + ([config.test_path] if config.test_path else [])
    return hashlib.sha256("".join(file_hash(path) for path in paths).encode()).hexdigest()


def _file_parts(config: FileQuestions) -> list[_Part]:
    parts = [_Part(config.path, read_rows(config.path), None)]
    if config.test_path is not None:
        parts.append(_Part(config.test_path, read_rows(config.test_path), "test"))
    return parts


def _hub_parts(config: HubQuestions) -> list[_Part]:
    def part(name: str, split: Split) -> _Part:
        """Return the rows of one part of the dataset, and what they are for."""
        return _Part(f"{config.dataset} {name}", hub_rows(config, name), split)

    parts = [part(config.train_split, "train")]
    if config.test_split is not None:
        parts.append(part(config.test_split, "test"))
    return parts


def _read(parts: Iterable[_Part], config: SplitConfig) -> LoadedQuestions:
    questions: list[Question] = []
    bad_rows: list[BadRow] = []
    places: dict[str, tuple[str, int]] = {}
    for path, line, row in _questions(parts, config):
        if isinstance(row, BadRow):
            bad_rows.append(row)
            continue
        if row.id in places:
            raise KpodError(_duplicate(row.id, path, line, places[row.id]))
        places[row.id] = (path, line)
        questions.append(row)
    num_rows = len(questions) + len(bad_rows)
    if len(bad_rows) > config.max_bad_fraction * num_rows:
        raise KpodError(
            f"questions {bad_rows[0]} ({len(bad_rows)} of {num_rows} rows can't be used, "
            f"questions.max_bad_fraction is {config.max_bad_fraction:g})"
        )
    return LoadedQuestions(questions, bad_rows)


def _questions(
    parts: Iterable[_Part], config: SplitConfig
) -> Iterator[tuple[str, int, Question | BadRow]]:
    for part in parts:
        for line, row in part.rows:
            if isinstance(row, BadRow):
                yield part.path, line, row
                continue
            try:
                yield part.path, line, _question(row, config, part.split)
            except FieldError as error:
                yield part.path, line, BadRow(part.path, line, str(error))


def _duplicate(question_id: str, path: str, line: int, first: tuple[str, int]) -> str:
    earlier = place(*first).removeprefix(f"{path} ")
    return (
        f"questions {place(path, line)}: id {question_id!r} was already used at {earlier}; "
        "ids must be unique"
    )


def _question(row: Mapping[str, Any], config: SplitConfig, split: Split | None) -> Question:
    columns = config.columns
    question_id = id_field(row, columns.id)
    question = text_field(row, columns.question).strip()
    rationale = optional_text_field(row, columns.rationale).strip()
    has_answer = not (config.allow_missing_answers and _is_missing(row.get(columns.answer)))
    if config.answer_separator and has_answer:
        text = text_field(row, columns.answer)
        rationale, answer = split_answer(text, config.answer_separator, columns.answer)
        row = {**row, columns.answer: answer}
    answer, kind, choices = _gold(row, config) if has_answer else _no_gold(row, config)
    split = split or _split(row, columns.split)
    if split == "test" and not answer:
        raise FieldError(f"field {columns.answer!r} is missing, and this is a test question")
    return Question(question_id, question, answer, kind, choices, split, rationale)


def _gold(row: Mapping[str, Any], config: SplitConfig) -> tuple[str, AnswerKind, tuple[str, ...]]:
    columns = config.columns
    texts, labels = read_choices(row, columns.choices)
    if texts:
        return read_choice(row, columns.answer, texts, labels), "choice", tuple(texts)
    answer, kind = read_gold(row, columns.answer)
    return answer, kind, ()


def _is_missing(answer: object) -> bool:
    return answer is None or (isinstance(answer, str) and not answer.strip())


def _no_gold(
    row: Mapping[str, Any], config: SplitConfig
) -> tuple[str, AnswerKind, tuple[str, ...]]:
    texts, _ = read_choices(row, config.columns.choices)
    return "", "choice" if texts else config.answer_kind, tuple(texts)


def _split(row: Mapping[str, Any], name: str) -> Split:
    text = optional_text_field(row, name)
    if text not in _SPLITS:
        raise FieldError(f"field {name!r} is {text!r}; it must be train, test or all (= train)")
    return _SPLITS[text]


def _with_test_split(questions: list[Question], fraction: float, seed: int) -> list[Question]:
    return [
        dataclasses.replace(question, split="test")
        if question.answer and hash_fraction(question.id, seed) < fraction
        else question
        for question in questions
    ]


def _limited(questions: list[Question], config: SplitConfig) -> list[Question]:
    if config.limit is None:
        return questions
    train = [question.id for question in questions if question.split == "train"]
    left_out = set(train[config.limit :])
    return [question for question in questions if question.id not in left_out]


def hub_rows(config: HubQuestions, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a data set's split with their numbers, from 1.

    Rows of a data set without an id column get ``<split>-<row number>`` as their id: nobody wrote
    them by hand, and a revision's order is fixed.

    Raises:
        KpodError: The data set can't be loaded, whatever the reason.
    """
    try:
        import datasets

        rows = datasets.load_dataset(
            config.dataset, config.subset, split=split, revision=config.revision
        )
    except (
        Exception
    ) as error:  # a hub, a network, a cache and a parser can all fail, each its own way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(
            f"questions: split {split!r} of data set {config.dataset!r} can't be loaded: {reason}; "
            "if the hub can't be reached, use source: file with a downloaded file"
        ) from error
    name = config.columns.id
    has_ids = name in rows.column_names
    for number, row in enumerate(rows, 1):
        yield number, row if has_ids else {**row, name: f"{split}-{number}"}
