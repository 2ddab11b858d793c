"""Read a question from a row of a file or of a data set on the hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kpod_ray.config import SplitConfig
from kpod_ray.questions.columns import TableColumns
from kpod_ray.questions.content_ids import content_id
from kpod_ray.questions.conversations import plain_row
from kpod_ray.questions.gold_answers import read_choice, read_choices, read_gold
from kpod_ray.questions.solutions import (
    check_short,
    split_answer,
    split_solution,
    without_calculator_marks,
)
from kpod_ray.records import AnswerKind, Question, Split
from kpod_ray.storage.user_files import FieldError, id_field, optional_text_field, text_field

_SPLITS: Mapping[str, Split] = {"": "train", "train": "train", "all": "train", "test": "test"}
"""Text of a row's split column -> split of the question. The empty text stands for a missing column."""


def question_of(
    row: Mapping[str, Any], config: SplitConfig, columns: TableColumns, split: Split | None
) -> Question:
    """Return the question of a row of the user's data.

    A row of a table without a column of ids gets a `content_id`.

    Args:
        row: the row, by column name.
        config: how answers are written.
        columns: names of the columns.
        split: split of the question; None reads the split column of the row.

    Raises:
        FieldError: A column is missing or holds a value that can't be used.
    """
    own_id = id_field(row, columns.id) if columns.id else ""
    row = plain_row(row, columns)
    question = text_field(row, columns.question).strip()
    rationale = without_calculator_marks(optional_text_field(row, columns.rationale))
    has_answer = not (config.allow_missing_answers and _is_missing(row.get(columns.answer)))
    if config.answer_separator and has_answer:
        text = text_field(row, columns.answer)
        rationale, answer = split_answer(text, config.answer_separator, columns.answer)
        row = {**row, columns.answer: answer}
    elif has_answer and (solution := split_solution(row, columns.answer)):
        rationale = solution[0] if columns.rationale == columns.answer else rationale or solution[0]
        row = {**row, columns.answer: solution[1]}
    read = _gold if has_answer else _no_gold
    answer, kind, choices = read(row, config, columns)
    if has_answer and kind == "text":
        check_short(answer, rationale, row, columns.answer)
    split = split or _split(row, columns.split)
    if split == "test" and not answer:
        raise FieldError(f"field {columns.answer!r} is missing, and this is a test question")
    question_id = own_id or content_id(question, choices, split)
    return Question(question_id, question, answer, kind, choices, split, rationale)


def _gold(
    row: Mapping[str, Any], config: SplitConfig, columns: TableColumns
) -> tuple[str, AnswerKind, tuple[str, ...]]:
    """Return the gold answer in normal form, its kind, and the texts of the choices, if any."""
    texts, labels = read_choices(row, columns.choices)
    if texts:
        return read_choice(row, columns.answer, texts, labels), "choice", tuple(texts)
    answer, kind = read_gold(row, columns.answer)
    return answer, kind, ()


def _is_missing(answer: object) -> bool:
    return answer is None or (isinstance(answer, str) and not answer.strip())


def _no_gold(
    row: Mapping[str, Any], config: SplitConfig, columns: TableColumns
) -> tuple[str, AnswerKind, tuple[str, ...]]:
    """Return the values of `_gold` for a row without a gold answer: the answer is an empty text."""
    texts, _ = read_choices(row, columns.choices)
    return "", "choice" if texts else config.answer_kind, tuple(texts)


def _split(row: Mapping[str, Any], name: str) -> Split:
    """Return the split that a row names in column ``name``; raise a `FieldError` for an unknown one."""
    text = optional_text_field(row, name)
    if text not in _SPLITS:
        raise FieldError(f"field {name!r} is {text!r}; it must be train, test or all (= train)")
    return _SPLITS[text]
