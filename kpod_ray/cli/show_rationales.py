"""``kpod show RUN rationales``: print counts by verdict, and some rationales with token weights.

`collect_corpus` reads the counts and rationales; `print_rationales` prints them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from rich.style import Style
from rich.text import Text

from kpod_ray.cli.terminal import Terminal
from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.questions.splits import COPY
from kpod_ray.records import (
    USED_VERDICTS,
    VERDICT_MEANINGS,
    Question,
    Rationale,
    Verdict,
    WeightedRationale,
)
from kpod_ray.report.formatting import clipped, visible
from kpod_ray.report.shading import keypoint_text, shown_steps
from kpod_ray.storage.artifacts import Artifact, Manifest

_PALE = (255, 243, 224)
"""Background of a token with the lowest weight: red, green and blue in 0 to 255."""
_STRONG = (255, 152, 0)
"""Background of a token with the highest weight."""


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
    questions = _questions(artifacts, {row.question_id for row in rows})
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


def _questions(artifacts: Mapping[str, Artifact], ids: set[str]) -> dict[str, Question]:
    """Return id -> question of the given ids, from the table of phase ``teacher`` first.

    Only this table holds copies of questions, and the gold answers that samples agreed on.
    """
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
    """Return question id -> weighted rationale; empty if phase ``weigh`` isn't finished."""
    found: dict[str, WeightedRationale] = {}
    rows = table_rows(weigh, "weighted", WeightedRationale) if weigh.is_finished() else iter(())
    for row in rows:
        if len(found) == len(ids):
            break
        if row.question_id in ids:
            found[row.question_id] = row
    return found


def print_rationales(
    artifacts: Mapping[str, Artifact], selection: Selection, console: Terminal
) -> None:
    """Print the counts of phase ``teacher`` and the selected rationales.

    If ``weigh`` is finished, token weights are shown as background colours, on a scale from 0 to 1.
    Long rationales without token weights are clipped.

    Args:
        artifacts: name -> artifact of the run, as in `collect_corpus`.
        selection: which rationales to show.
        console: terminal.

    Raises:
        KpodError: A question is selected that has no rationale with the selected verdict, or an artifact
            can't be read.
    """
    num_samples = selection.num_samples
    if (
        selection.question_id is not None
    ):  # one row at least, which tells that the question has some
        num_samples = max(1, num_samples)
    summary = collect_corpus(artifacts, dataclasses.replace(selection, num_samples=num_samples))
    if selection.question_id is not None and not summary.samples:
        raise KpodError(
            f"question {selection.question_id!r} has no such rationale; is it a training question?"
        )
    if not selection.num_samples:
        summary = dataclasses.replace(summary, samples={})
    _Printer(console).print_all(summary)


class _Printer:
    """Prints the counts and the samples of a corpus."""

    def __init__(self, console: Terminal) -> None:
        self.console = console

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Print a text without wrapping."""
        self.console.print(text, style=style or None, soft_wrap=True)

    def print_all(self, summary: CorpusSummary) -> None:
        """Print the counts, then the shown rationales of each verdict."""
        for line in count_lines(summary):
            self.line(line)
        if any(sample.weighted for group in summary.samples.values() for sample in group):
            self.line("token weights shown from 0 (pale) to 1 (strong)")
        for verdict, samples in summary.samples.items():
            self.line()
            count = summary.verdicts[verdict]
            self.line(f"{verdict}: {len(samples):,} shown of {count:,}", "bold")
            for sample in samples:
                self._print_sample(sample)

    def _print_sample(self, sample: ShownSample) -> None:
        self.line()
        self.line(_origin(sample.rationale), "dim")
        question = sample.question
        self.line(clipped(question_text(question)) if question else "(belongs to no question)")
        gold = question.answer if question else ""
        extracted = sample.rationale.predicted_answer
        self.line(f"gold answer {gold or 'none'}, extracted {extracted or 'none'}", "dim")
        if sample.weighted and (keypoints := keypoint_text(sample.weighted)):
            self.line(keypoints, "dim")
        self.line(_shaded(sample) if sample.weighted else clipped(sample.rationale.text))


def count_lines(summary: CorpusSummary) -> list[str]:
    """Return the counts and verdicts of a corpus (not its samples) as lines of text.

    Verdicts without rationales have no line. The last line shows that the counts of the verdicts add up
    to the samples plus the reference rationales. Control characters in the teacher's name are kept.
    """
    counts, verdicts = summary.counts, summary.verdicts
    samples, total = counts["samples"], sum(verdicts.values())
    num_references = verdicts.get("reference", 0)
    questions = counts["questions"]
    num_with_rationale = questions - counts["questions_without_rationale"]
    lines = [
        f"teacher {summary.teacher}: {samples:,} samples with {counts['tokens']:,} tokens",
        f"questions {questions:,}: {num_with_rationale:,} have a rationale to train on",
        f"kept {verdicts.get('kept', 0):,} of {samples:,} samples",
        "",
    ]
    names = [name for name in get_args(Verdict) if verdicts.get(name)]
    width = max(map(len, [*names, "total"]))
    for name in names:
        meaning = VERDICT_MEANINGS.get(name, "")
        share = _share(verdicts[name], total)
        lines.append(f"  {name:<{width}} {verdicts[name]:>9,} {share:>7}  {meaning}".rstrip())
    lines.append(
        f"  {'total':<{width}} {total:>9,}  = {samples:,} samples",
    )
    if num_references:
        lines[-1] += f" + {num_references:,} references"
    return lines


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "none"


def _origin(row: Rationale) -> str:
    """Return question, sample index and statistics of a rationale in one line."""
    parts = [f"question {row.question_id}", f"sample {row.sample_index}"]
    if row.finish_reason:
        parts.append(f"finish reason {row.finish_reason}")
    if row.num_tokens:
        parts.append(f"{row.num_tokens} tokens")
    if row.logprob is not None:
        parts.append(f"log-probability {row.logprob:.2f}")
    return ", ".join(parts)


def _shaded(sample: ShownSample) -> Text:
    """Return a rationale with its token weights as background colours."""
    assert sample.weighted is not None
    text = Text()
    for step in shown_steps(sample.weighted, ()):
        for piece in step.pieces:
            style = "" if piece.weight is None else _background(piece.shade)
            text.append(visible(piece.text), style)
    return text


def _background(shade: float) -> Style:
    """Return black text on a mix of `_PALE` (shade 0) and `_STRONG` (shade 1)."""
    red, green, blue = (
        round(pale + shade * (strong - pale)) for pale, strong in zip(_PALE, _STRONG, strict=True)
    )
    return Style(color="black", bgcolor=f"rgb({red},{green},{blue})")
