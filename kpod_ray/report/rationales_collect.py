"""Gather what a look at the corpus shows: its counts, and some rationales of each verdict."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from kpod_ray.artifacts import Artifact
from kpod_ray.data.corpus import table_rows
from kpod_ray.errors import KpodError
from kpod_ray.records import Question, Rationale, Verdict, WeightedRationale

USED = ("kept", "reference")
"""Verdicts of the rationales that go on."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rationales are shown."""

    verdict: str | None = None
    """Only these; None shows all."""
    question_id: str | None = None
    """Only those of one question; None shows all."""
    num_samples: int = 5
    """Most of each verdict."""

    def __post_init__(self) -> None:
        """Refuse a verdict that there isn't.

        Raises:
            KpodError: It is unknown.
        """
        known = get_args(Verdict)
        if self.verdict not in (None, *known):
            raise KpodError(f"unknown verdict {self.verdict!r}; there are {', '.join(known)}")

    def has_question_of(self, row: Rationale) -> bool:
        """Whether a rationale belongs to the question, or to a copy of it."""
        copy = f"{self.question_id}#{row.sample_index}"
        return self.question_id is None or row.question_id in (self.question_id, copy)


@dataclasses.dataclass(frozen=True, slots=True)
class ShownSample:
    """A rationale with its question and, if it goes on and is weighed, its token weights."""

    rationale: Rationale
    question: Question | None
    """None when it belongs to no question."""
    weighted: WeightedRationale | None


@dataclasses.dataclass(frozen=True)
class CorpusSummary:
    """What a finished phase ``teacher`` brought."""

    teacher: str
    counts: Mapping[str, int]
    verdicts: Mapping[str, int]
    """Rationales of each verdict."""
    samples: Mapping[str, list[ShownSample]]
    """The first ones of each verdict; those that go on come first."""


def collect_corpus(artifacts: Mapping[str, Artifact], selection: Selection) -> CorpusSummary:
    """Return the counts and the selected samples; tables are read only as far as needed.

    Args:
        artifacts: ``questions`` and ``teacher`` must be finished, ``weigh`` may be.
        selection: what to show.
    """
    manifest = artifacts["teacher"].manifest()
    rows = _chosen(_rows(artifacts["teacher"], selection), selection, manifest["verdicts"])
    questions = _questions(artifacts, {row.question_id for row in rows})
    used_ids = {row.question_id for row in rows if row.verdict in USED}
    weighted = _weighted(artifacts["weigh"], used_ids)
    samples: dict[str, list[ShownSample]] = {}
    for row in rows:
        weights = weighted.get(row.question_id) if row.verdict in USED else None
        sample = ShownSample(row, questions.get(row.question_id), weights)
        samples.setdefault(row.verdict, []).append(sample)
    return CorpusSummary(manifest["teacher"], manifest["counts"], manifest["verdicts"], samples)


def _rows(teacher: Artifact, selection: Selection) -> Iterator[Rationale]:
    if selection.verdict is None or selection.verdict in USED:
        yield from table_rows(teacher, "rationales", Rationale)
    if selection.verdict not in USED:
        yield from table_rows(teacher, "rejects", Rationale)


def _chosen(
    rows: Iterable[Rationale], selection: Selection, counts: Mapping[str, int]
) -> list[Rationale]:
    """Return the first rows of each wanted verdict; stop when there can be no more."""
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


def _questions(artifacts: Mapping[str, Artifact], ids: set[str]) -> dict[str, Question]:
    """Return the questions of some ids; with the teacher are copies, and answers agreed on."""
    found: dict[str, Question] = {}
    tables = (
        table_rows(artifacts[name], "questions", Question) for name in ("teacher", "questions")
    )
    for question in itertools.chain.from_iterable(tables):
        if len(found) == len(ids):
            break
        if question.id in ids:
            found.setdefault(question.id, question)
    return found


def _weighted(weigh: Artifact, ids: set[str]) -> dict[str, WeightedRationale]:
    """Return the token weights of some rationales; none when the phase isn't finished."""
    found: dict[str, WeightedRationale] = {}
    rows = table_rows(weigh, "weighted", WeightedRationale) if weigh.is_finished() else iter(())
    for row in rows:
        if len(found) == len(ids):
            break
        if row.question_id in ids:
            found[row.question_id] = row
    return found
