"""``kpod show RUN questions``: print counts by split and kind, some questions, and the bad rows."""

from __future__ import annotations

import dataclasses
from collections import Counter

from kpod_ray.cli.terminal import Terminal
from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.records import Question
from kpod_ray.report.formatting import clipped
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.user_files import BadRow


@dataclasses.dataclass(frozen=True)
class QuestionSummary:
    """The counts, the shown questions and the bad rows of a finished phase ``questions``."""

    counts: Counter[tuple[str, str]]
    """(split, kind of answer) -> number of questions."""
    questions: list[Question]
    """The first questions of each split in the order of the table, or only the selected question."""
    bad_rows: list[BadRow]
    """All rows that couldn't be used."""


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
    is_known = question_id is None
    counts = Counter[tuple[str, str]]()
    chosen: list[Question] = []
    num_chosen = Counter[str]()
    for row in table_rows(artifact, "questions", Question):
        counts[row.split, row.kind] += 1
        is_known |= row.id == question_id
        if question_id in (None, row.id) and num_chosen[row.split] < num_questions:
            num_chosen[row.split] += 1
            chosen.append(row)
    if not is_known:
        raise KpodError(f"there is no question {question_id!r}")
    return QuestionSummary(counts, chosen, _bad_rows(artifact))


def _bad_rows(artifact: Artifact) -> list[BadRow]:
    if not artifact.has("bad_rows"):
        return []
    return [BadRow(**row) for row in artifact.read("bad_rows").to_pylist()]


def print_questions(summary: QuestionSummary, num_bad_rows: int, console: Terminal) -> None:
    """Print the counts, the first ``num_bad_rows`` bad rows with their reasons, and the questions.

    Each question is printed with its gold answer; a long text is clipped. Control characters are made
    visible.
    """
    lines = [f"questions {summary.counts.total():,}"]
    for (split, kind), count in sorted(summary.counts.items()):
        lines.append(f"  {split:<5} {kind:<7} {count:>9,}")
    bad = summary.bad_rows
    lines.append(
        f"bad rows {len(bad):,}" + (f", {num_bad_rows:,} shown" if bad[num_bad_rows:] else "")
    )
    lines += [f"  {row}" for row in bad[:num_bad_rows]]
    for question in summary.questions:
        lines += [
            "",
            f"{question.split} question {question.id}, answer {question.answer or 'none'}",
        ]
        lines.append(clipped(question_text(question)))
    for line in lines:
        console.print(line, soft_wrap=True)
