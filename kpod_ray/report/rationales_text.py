"""A look at the corpus in the terminal: counts that add up, and samples of each verdict.

Texts may hold anything. They are printed as `rich.text.Text`, which knows no markup, with control
characters and direction marks made visible. Piped to a file, all of it is plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from rich.console import Console
from rich.style import Style
from rich.text import Text

from kpod_ray.artifacts import Artifact
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.records import Rationale, Verdict
from kpod_ray.report.rationales_collect import (
    CorpusSummary,
    Selection,
    ShownSample,
    collect_corpus,
)
from kpod_ray.report.tokens import Scale, shown_steps
from kpod_ray.report.view import MEANINGS
from kpod_ray.report.wording import clipped, visible

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
        meaning = MEANINGS.get(name, "")
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
