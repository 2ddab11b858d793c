"""``kpod show RUN rationales``: print counts by verdict, and some rationales with token weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import get_args

from rich.style import Style
from rich.text import Text

from kpod_ray.cli.corpus_summary import CorpusSummary, Selection, ShownSample, collect_corpus
from kpod_ray.cli.terminal import Terminal
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError
from kpod_ray.records import VERDICT_MEANINGS, Rationale, Verdict
from kpod_ray.report.formatting import clipped, visible
from kpod_ray.report.shading import keypoint_text, shown_steps
from kpod_ray.storage.artifacts import Artifact

_PALE = (255, 243, 224)
"""Background of a token with the lowest weight: red, green and blue in 0 to 255."""
_STRONG = (255, 152, 0)
"""Background of a token with the highest weight."""


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
    if selection.question_id is not None:
        num_samples = max(1, num_samples)  # one row at least tells that the question has some
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
