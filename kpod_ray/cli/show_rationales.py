"""Gather what a look at the corpus shows: its counts, and some rationales of each verdict."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from rich.console import Console
from rich.style import Style
from rich.text import Text

from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.records import (
    USED_VERDICTS,
    VERDICT_MEANINGS,
    Question,
    Rationale,
    Verdict,
    WeightedRationale,
)
from kpod_ray.report.formatting import clipped, visible
from kpod_ray.report.shading import Scale, shown_steps
from kpod_ray.storage.artifacts import Artifact


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
    used_ids = {row.question_id for row in rows if row.verdict in USED_VERDICTS}
    weighted = _weighted(artifacts["weigh"], used_ids)
    samples: dict[str, list[ShownSample]] = {}
    for row in rows:
        weights = weighted.get(row.question_id) if row.verdict in USED_VERDICTS else None
        sample = ShownSample(row, questions.get(row.question_id), weights)
        samples.setdefault(row.verdict, []).append(sample)
    return CorpusSummary(manifest["teacher"], manifest["counts"], manifest["verdicts"], samples)


def _rows(teacher: Artifact, selection: Selection) -> Iterator[Rationale]:
    if selection.verdict is None or selection.verdict in USED_VERDICTS:
        yield from table_rows(teacher, "rationales", Rationale)
    if selection.verdict not in USED_VERDICTS:
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


_PALE, _STRONG = (255, 243, 224), (255, 152, 0)
"""Background of the lightest and the heaviest token."""


def print_rationales(
    artifacts: Mapping[str, Artifact], selection: Selection, console: Console
) -> None:
    """Print what a finished phase ``teacher`` brought.

    Args:
        artifacts: ``questions`` and ``teacher`` must be finished; with ``weigh``, token weights are
            shades.
        selection: which rationales to show.
        console: where to print.

    Raises:
        KpodError: A question is selected that has no such rationale.
    """
    summary = collect_corpus(artifacts, selection)
    if selection.question_id is not None and not summary.samples:
        raise KpodError(
            f"question {selection.question_id!r} has no such rationale; is it a training question?"
        )
    _Printer(console).print_all(summary)


class _Printer:
    """Prints lines of text, as they are: no markup, no highlighting, no wrapping."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Print a line, with the control characters of plain text made visible."""
        shown = Text(visible(text)) if isinstance(text, str) else text
        self.console.print(shown, style=style or None, soft_wrap=True)

    def print_all(self, summary: CorpusSummary) -> None:
        """Print the counts, then the samples of each verdict."""
        for line in count_lines(summary):
            self.line(line)
        weighted = [s.weighted for group in summary.samples.values() for s in group if s.weighted]
        scale = Scale.of(weighted)
        if weighted:
            self.line(
                f"token weights shown from {scale.low:.2f} (pale) to {scale.high:.2f} (strong)"
            )
        for verdict, samples in summary.samples.items():
            self.line()
            count = summary.verdicts[verdict]
            self.line(f"{verdict}: {len(samples):,} shown of {count:,}", "bold")
            for sample in samples:
                self._print_sample(sample, scale)

    def _print_sample(self, sample: ShownSample, scale: Scale) -> None:
        self.line()
        self.line(_about(sample.rationale), "dim")
        question = sample.question
        self.line(clipped(question_text(question)) if question else "(belongs to no question)")
        gold = question.answer if question else ""
        extracted = sample.rationale.predicted_answer
        self.line(f"gold answer {gold or 'none'}, extracted {extracted or 'none'}", "dim")
        self.line(_shaded(sample, scale) if sample.weighted else clipped(sample.rationale.text))


def count_lines(summary: CorpusSummary) -> list[str]:
    """Return the counts in and out in lines of text; the verdicts add up to samples and references."""
    counts, verdicts = summary.counts, summary.verdicts
    samples, total = counts["samples"], sum(verdicts.values())
    num_references = verdicts.get("reference", 0)
    questions = counts["questions"]
    with_one = questions - counts["questions_without_rationale"]
    lines = [
        f"teacher {summary.teacher}: {samples:,} samples with {counts['tokens']:,} tokens",
        f"questions {questions:,}: {with_one:,} have a rationale that goes on",
        f"kept {_share(verdicts.get('kept', 0), samples)} of the samples",
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


def _about(row: Rationale) -> str:
    """Return where a rationale comes from, in one line."""
    told = [f"question {row.question_id}", f"sample {row.sample_index}"]
    if row.finish_reason:
        told.append(f"finish reason {row.finish_reason}")
    if row.num_tokens:
        told.append(f"{row.num_tokens} tokens")
    if row.logprob is not None:
        told.append(f"log-probability {row.logprob:.2f}")
    return ", ".join(told)


def _shaded(sample: ShownSample, scale: Scale) -> Text:
    """Return a rationale with the weights of its tokens as backgrounds."""
    assert sample.weighted is not None
    text = Text()
    for step in shown_steps(sample.weighted, (), scale):
        for piece in step.pieces:
            style = "" if piece.weight is None else _background(piece.shade)
            text.append(visible(piece.text), style)
    return text


def _background(shade: float) -> Style:
    red, green, blue = (
        round(pale + shade * (strong - pale)) for pale, strong in zip(_PALE, _STRONG, strict=True)
    )
    return Style(color="black", bgcolor=f"rgb({red},{green},{blue})")
