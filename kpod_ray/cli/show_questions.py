"""``kpod show RUN questions``: print counts, gold answers, some questions, and what is wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kpod_ray.cli.terminal import Terminal
from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.questions.contamination import Contamination
from kpod_ray.records import Question
from kpod_ray.report.formatting import clipped
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.bad_rows import BadRow

NUM_ANSWERS = 8
"""Gold answers of each kind that are shown."""
_NUM_UNDERSTOOD = 3
"""Questions that are shown after they were read."""


@dataclasses.dataclass(frozen=True)
class QuestionSummary:
    """The counts, the shown questions and the bad rows of a finished phase ``questions``."""

    counts: Counter[tuple[str, str]]
    """(split, kind of answer) -> number of questions."""
    questions: list[Question]
    """The first questions of each split in the order of the table, or only the selected question."""
    bad_rows: list[BadRow]
    """All rows that couldn't be used."""
    gold_counts: Counter[str]
    """Kind of answer -> number of gold answers; ``none`` -> number of questions without one."""
    answers: dict[str, list[str]]
    """Kind of answer, or ``none`` -> the first `NUM_ANSWERS` different gold answers."""
    contamination: list[Contamination]
    """Training questions that are equal or nearly equal to a test question."""


def collect_questions(
    artifact: Artifact, num_questions: int, question_id: str | None
) -> QuestionSummary:
    """Count all questions, and select the questions to show; the table is read in batches.

    Args:
        artifact: artifact of the finished phase ``questions``.
        num_questions: largest number of questions shown of each split; 0 shows none, also not the
            question of ``question_id``.
        question_id: id of the only question to show; None shows the first questions.

    Raises:
        KpodError: There is no question with that id, or the artifact can't be read.
    """
    bad_rows = [BadRow(**row) for row in _faults(artifact, "bad_rows")]
    repeats = [Contamination(**row) for row in _faults(artifact, "contamination")]
    rows = table_rows(artifact, "questions", Question)
    return summarize(rows, num_questions, bad_rows, repeats, question_id)


def summarize(
    rows: Iterable[Question],
    num_questions: int,
    bad_rows: list[BadRow],
    contamination: Sequence[Contamination] = (),
    question_id: str | None = None,
) -> QuestionSummary:
    """Count questions, and select the questions to show; see `collect_questions`.

    Raises:
        KpodError: There is no question with the id.
    """
    is_known = question_id is None
    counts = Counter[tuple[str, str]]()
    gold_counts, answers = Counter[str](), dict[str, list[str]]()
    chosen: list[Question] = []
    num_chosen = Counter[str]()
    for row in rows:
        counts[row.split, row.kind] += 1
        gold = row.kind if row.answer else "none"
        gold_counts[gold] += 1
        examples = answers.setdefault(gold, [])
        if row.answer not in ("", *examples) and len(examples) < NUM_ANSWERS:
            examples.append(row.answer)
        is_known |= row.id == question_id
        if question_id in (None, row.id) and num_chosen[row.split] < num_questions:
            num_chosen[row.split] += 1
            chosen.append(row)
    if not is_known:
        raise KpodError(f"there is no question {question_id!r}")
    return QuestionSummary(counts, chosen, bad_rows, gold_counts, answers, list(contamination))


def _faults(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table that phase ``questions`` writes only if something is wrong."""
    if not artifact.has(name):
        return []
    rows: list[dict[str, Any]] = artifact.read(name).to_pylist()
    return rows


def print_understood(
    summary: QuestionSummary, columns: Mapping[str, Mapping[str, str]], console: Terminal
) -> None:
    """Print how questions were understood: the columns, the kinds of answers, and three questions.

    ``columns`` maps the path of each file to its columns, see `TableColumns.known`.
    """
    for path, found in columns.items():
        names = ", ".join(f"{role} = {name}" for role, name in found.items())
        console.write_line(f"columns of {path}: {names or 'none is known'}")
    shown = dataclasses.replace(summary, questions=summary.questions[:_NUM_UNDERSTOOD])
    print_questions(shown, _NUM_UNDERSTOOD, console)


def print_questions(summary: QuestionSummary, num_shown: int, console: Terminal) -> None:
    """Print the counts, examples of gold answers, what is wrong, and the questions.

    Of the bad rows and of the training questions that repeat a test question, the first ``num_shown``
    are printed. Each question is printed with its gold answer; a long text is clipped. Control
    characters are made visible.
    """
    lines = [f"questions {summary.counts.total():,}"]
    for (split, kind), count in sorted(summary.counts.items()):
        lines.append(f"  {split:<5} {kind:<7} {count:>9,}")
    lines.append("gold answers")
    for kind, answers in sorted(summary.answers.items()):
        examples = " | ".join(clipped(answer, 60) for answer in answers)
        lines.append(f"  {kind:<7} {summary.gold_counts[kind]:>9,}  {examples}".rstrip())
    lines += _listed("bad rows", summary.bad_rows, num_shown)
    repeats = [
        f"{'equal' if repeat.similarity == 1 else f'{repeat.similarity:.0%} similar'}: train "
        f"{repeat.train_id}: {repeat.question!r}; test {repeat.test_id}: {repeat.test_question!r}"
        for repeat in summary.contamination
    ]
    if repeats:
        lines += _listed("training questions that repeat a test question", repeats, num_shown)
    for question in summary.questions:
        lines += [
            "",
            f"{question.split} question {question.id}, answer {question.answer or 'none'}",
        ]
        lines.append(clipped(question_text(question)))
    for line in lines:
        console.print(line, soft_wrap=True)


def _listed(title: str, rows: Sequence[object], num_shown: int) -> list[str]:
    """Return a title with the number of rows, and the first rows."""
    remark = f", {num_shown:,} shown" if rows[num_shown:] else ""
    return [f"{title} {len(rows):,}{remark}", *(f"  {row}" for row in rows[:num_shown])]
