"""The part of a corpus that is shown: counts by verdict, and some rationales with token weights."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from kpod_ray.data.corpus import find_questions, table_rows
from kpod_ray.errors import KpodError
from kpod_ray.questions.splits import COPY
from kpod_ray.records import USED_VERDICTS, Question, Rationale, Verdict, WeightedRationale
from kpod_ray.storage.artifacts import Artifact, Manifest


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rationales are shown."""

    verdict: str | None = None
    """Show only rationales with this verdict; None shows all verdicts."""
    question_id: str | None = None
    """Show only rationales of this question; None shows all questions."""
    num_samples: int = 5
    """Largest number of rationales shown of each verdict; the first in the order of the tables."""

    def __post_init__(self) -> None:
        """Refuse an unknown verdict by a `KpodError`."""
        known = get_args(Verdict)
        if self.verdict not in (None, *known):
            raise KpodError(f"unknown verdict {self.verdict!r}; there are {', '.join(known)}")

    def has_question_of(self, row: Rationale) -> bool:
        """Return whether a rationale belongs to the selected question or to a copy of the question.

        Without a selected question, every rationale does.
        """
        copy = f"{self.question_id}#{row.sample_index}"
        return self.question_id is None or row.question_id in (self.question_id, copy)


@dataclasses.dataclass(frozen=True, slots=True)
class ShownSample:
    """A rationale with its question and its token weights."""

    rationale: Rationale
    question: Question | None
    """None if no question has the rationale's question id."""
    weighted: WeightedRationale | None
    """None if the rationale isn't trained on or has no token weights."""


@dataclasses.dataclass(frozen=True)
class CorpusSummary:
    """The counts and the shown rationales of a phase ``teacher`` that has written its tables."""

    teacher: str
    counts: Mapping[str, int]
    """``counts`` of the phase's manifest."""
    verdicts: Mapping[str, int]
    """Verdict -> number of rationales."""
    samples: Mapping[str, list[ShownSample]]
    """Verdict -> shown rationales, at least one; verdicts that are trained on come first."""


def collect_corpus(artifacts: Mapping[str, Artifact], selection: Selection) -> CorpusSummary:
    """Return the counts of all rationales and the selected rationales; read only the rows needed.

    Args:
        artifacts: name -> artifact of the run. ``questions`` must be finished, and ``teacher`` must have
            written its tables; the token weights are left out if ``weigh`` isn't finished.
        selection: which rationales to show.

    Raises:
        KpodError: An artifact can't be read, or ``teacher`` hasn't written its tables.
    """
    teacher = artifacts["teacher"]
    manifest = teacher.manifest() if teacher.is_finished() else _counted(artifacts)
    rows = _chosen(_rows(artifacts["teacher"], selection), selection, manifest["verdicts"])
    questions = find_questions(artifacts, {row.question_id for row in rows})
    used_ids = {row.question_id for row in rows if row.verdict in USED_VERDICTS}
    weighted = _weighted(artifacts["weigh"], used_ids)
    samples: dict[str, list[ShownSample]] = {}
    for row in rows:
        weights = weighted.get(row.question_id) if row.verdict in USED_VERDICTS else None
        sample = ShownSample(row, questions.get(row.question_id), weights)
        samples.setdefault(row.verdict, []).append(sample)
    return CorpusSummary(manifest["teacher"], manifest["counts"], manifest["verdicts"], samples)


def _counted(artifacts: Mapping[str, Artifact]) -> Manifest:
    """Return the manifest of a phase ``teacher`` that failed after it wrote its tables."""
    verdicts, counts, name = Counter[str](), Counter[str](), ""
    for row in _rows(artifacts["teacher"], Selection()):
        name = name or row.teacher
        verdicts[row.verdict] += 1
        counts["tokens"] += row.num_tokens
        counts["samples"] += row.verdict != "reference"
        is_first = row.verdict in USED_VERDICTS and not COPY.search(row.question_id)
        counts["questions_without_rationale"] -= is_first
    for question in table_rows(artifacts["questions"], "questions", Question):
        counts["questions"] += question.split == "train"
    counts["questions_without_rationale"] += counts["questions"]
    title = f"{name} (the phase isn't finished)".strip()
    return {"teacher": title, "counts": counts, "verdicts": verdicts}


def _rows(teacher: Artifact, selection: Selection) -> Iterator[Rationale]:
    """Yield the rows of the tables that can hold selected rationales, rationales trained on first."""
    if selection.verdict is None or selection.verdict in USED_VERDICTS:
        yield from table_rows(teacher, "rationales", Rationale)
    if selection.verdict not in USED_VERDICTS:
        yield from table_rows(teacher, "rejects", Rationale)


def _chosen(
    rows: Iterable[Rationale], selection: Selection, counts: Mapping[str, int]
) -> list[Rationale]:
    """Return the first selected rows of each verdict; ``counts``, by verdict, tells when to stop."""
    wanted = Counter(
        {
            verdict: min(selection.num_samples, count)
            for verdict, count in counts.items()
            if selection.verdict in (None, verdict)
        }
    )
    chosen = []
    for row in rows:
        if not wanted.total():
            break
        if wanted[row.verdict] and selection.has_question_of(row):
            wanted[row.verdict] -= 1
            chosen.append(row)
    return chosen


def _weighted(weigh: Artifact, ids: set[str]) -> dict[str, WeightedRationale]:
    """Return question id -> weighted rationale; empty if phase ``weigh`` isn't finished."""
    found: dict[str, WeightedRationale] = {}
    rows = table_rows(weigh, "weighted", WeightedRationale) if weigh.is_finished() else iter(())
    for row in rows:
        if len(found) == len(ids):
            break
        if row.question_id in ids:
            found[row.question_id] = row
    return found
