"""Find the columns of a table of questions or rationales by their names.

A name that the settings give is used as it is. Else the setting's own name is looked for (``question``),
then the other names that data sets use for the same (``problem``, ``prompt``). Case doesn't count. Two
other names at once are an error, which names the setting that decides.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kpod_ray.config import ColumnsConfig
from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow

_HEAD_ROWS = 1000
"""First rows of a table whose columns are looked at."""
_QUESTIONS = ("problem", "prompt", "instruction", "query")
_SHORT_ANSWERS = ("final_answer", "ground_truth", "target")
_SOLUTIONS = ("solution", "output", "response", "completion")
_RATIONALES = ("reasoning", *_SOLUTIONS)
_CONVERSATIONS = ("messages", "conversations", "conversation")


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """Names of the columns of one table; an empty text stands for a column that isn't there."""

    id: str
    question: str
    """Column of the question's text; ``question`` if the table has no such column."""
    context: str
    """Column whose text follows the question's: Alpaca's ``input`` beside ``instruction``."""
    messages: str
    """Column of conversations, which are read: the question and the reply are in there."""
    answer: str
    """Column of the gold answer; ``answer`` if the table has no such column, and the column of the
    conversations if their replies hold the answer."""
    choices: str
    split: str
    rationale: str
    """Column of the rationale; ``rationale`` if the table has no such column."""
    teacher_answer: str
    finish_reason: str

    def known(self, names: Sequence[str]) -> dict[str, str]:
        """Return what is read -> the name of its column, such as ``question`` -> ``problem``.

        Of columns that aren't in ``names`` nothing is returned. ``context`` is the column whose text
        follows the question's.
        """
        roles = ("id", "messages", "question", "context", "answer", "choices", "split", "rationale")
        found = {role: getattr(self, role) for role in roles}
        return {role: name for role, name in found.items() if name in names}


Rows = Iterable[tuple[int, Mapping[str, Any] | BadRow]]


def names_of(rows: Rows) -> tuple[list[str], Iterator[tuple[int, Mapping[str, Any] | BadRow]]]:
    """Return the names of the columns in the first 1,000 rows, and an iterator over all rows.

    The names have the order of their first use. Rows that can't be read have no names.
    """
    rest = iter(rows)
    head = list(itertools.islice(rest, _HEAD_ROWS))
    names: dict[str, None] = {}
    for _, row in head:
        if not isinstance(row, BadRow):
            names.update(dict.fromkeys(row))
    return list(names), itertools.chain(head, rest)


def question_columns(names: Sequence[str], config: ColumnsConfig, table: str) -> TableColumns:
    """Return the columns of a table of questions.

    A conversation is read if there is no column of the question, or if ``columns.messages`` is set. Its
    reply is the reference rationale if there is a column of the answer, and a solution with the answer
    in it if there is none.

    Args:
        names: names of the table's columns; empty for a table without a row that can be read.
        config: names that the user gives.
        table: beginning of error messages, such as ``questions a.csv``.

    Raises:
        KpodError: Two columns may be the one that is looked for, or none is the question.
    """
    finder = _Finder(names, config, table, "questions")
    question = finder.question()
    is_conversation = config.messages or not question
    messages = finder.find("messages", _CONVERSATIONS) if is_conversation else ""
    if names and not question and not messages:
        raise KpodError(
            f"{table}: no column is known as the question (there are {', '.join(names)}); set "
            "questions.columns.question to its name"
        )
    answer = finder.find("answer", _SHORT_ANSWERS) or finder.find("answer", _SOLUTIONS)
    rationale = finder.find("rationale", [name for name in _RATIONALES if name != answer.lower()])
    if messages and answer:
        rationale = rationale or messages
    return finder.columns(question, messages, answer or messages, rationale)


def rationale_columns(names: Sequence[str], config: ColumnsConfig, table: str) -> TableColumns:
    """Return the columns of a table of rationales, whose questions may be left out.

    A conversation is read if there is no column of the rationale, or if ``columns.messages`` is set; its
    reply is the rationale. The other arguments are those of `question_columns`.

    Raises:
        KpodError: Two columns may be the one that is looked for.
    """
    finder = _Finder(names, config, table, "teacher")
    rationale = finder.find("rationale", _RATIONALES)
    is_conversation = config.messages or not rationale
    messages = finder.find("messages", _CONVERSATIONS) if is_conversation else ""
    return finder.columns(finder.question(), messages, "", messages or rationale)


class _Finder:
    """Looks for columns by their names.

    Args:
        names: names of the table's columns.
        config: names that the user gives.
        table: beginning of error messages.
        group: ``questions`` or ``teacher``, the group with the setting ``columns``.
    """

    def __init__(self, names: Sequence[str], config: ColumnsConfig, table: str, group: str) -> None:
        self.names = {name.strip().lower(): name for name in reversed(names)}
        self.exact = set(names)
        self.config, self.table, self.group = config, table, group

    def find(self, field: str, others: Sequence[str]) -> str:
        """Return the column of a field; an empty text if there is none."""
        given: str | None = getattr(self.config, field)
        if given is not None:
            return given
        if field in self.exact:
            return field
        if field in self.names:
            return self.names[field]
        found = [self.names[name] for name in others if name in self.names]
        if len(found) > 1:
            raise KpodError(
                f"{self.table}: columns {found[0]!r} and {found[1]!r} may both be the {field}; set "
                f"{self.group}.columns.{field} to one of them"
            )
        return found[0] if found else ""

    def question(self) -> str:
        """Return the column of the question; an empty text if there is none."""
        return self.find("question", _QUESTIONS) or self.names.get("input", "")

    def columns(self, question: str, messages: str, answer: str, rationale: str) -> TableColumns:
        """Return the columns, with the settings' own names in place of missing ones."""
        is_alpaca = question.lower() == "instruction"
        config = self.config
        return TableColumns(
            id=self.find("id", ()),
            question=question or "question",
            context=self.names.get("input", "") if is_alpaca else "",
            messages=messages,
            answer=answer or "answer",
            choices=config.choices,
            split=config.split,
            rationale=rationale or "rationale",
            teacher_answer=config.teacher_answer,
            finish_reason=config.finish_reason,
        )
