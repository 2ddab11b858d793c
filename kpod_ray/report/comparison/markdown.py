"""Write a comparison as Markdown, for terminals and repositories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kpod_ray.report.comparison.contrast_rows import contrast_rows
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.further_sets import further_set_table
from kpod_ray.report.comparison.headline import cautions, headline
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.step_groups import StepGroup, step_groups
from kpod_ray.report.comparison.tables import arm_rows
from kpod_ray.report.comparison.training_rows import are_measured, training_rows
from kpod_ray.report.comparison.wording import notes, sensitivity
from kpod_ray.report.formatting import NO_VALUE, percent, visible

_SPECIAL = re.compile(r"[\\`*\[\]|#~!$]|(?<!\w)_|_(?!\w)")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ARM_COLUMNS = (
    ("Arm", "name"),
    ("Accuracy", "accuracy"),
    ("95 % interval", "accuracy_interval"),
    ("Seeds", "num_seeds"),
)
"""Columns of a Markdown table: heading, and field of `ArmRow`. All tables fit into 80 characters."""
_STEP_COLUMNS = (
    ("Arm", "name"),
    ("Steps minus gold", "generated_minus_gold"),
    ("Early stops", "early_stops"),
    ("Keypoint share", "keypoint_share"),
)
_CONTRAST_COLUMNS = (
    ("Arm", "label"),
    ("Points", "difference"),
    ("95 % interval", "interval"),
    ("p", "p_value"),
    ("p (Holm)", "adjusted_p"),
)
_UNTESTED_COLUMNS = (
    ("Arm", "name"),
    ("Points", "difference"),
    ("95 % interval", "difference_interval"),
)
_TRAINING_COLUMNS = (
    ("Arm", "name"),
    ("Learning rate", "learning_rate"),
    ("1/4", "quarter"),
    ("1/2", "half"),
    ("End", "end"),
)
_COST_COLUMNS = (
    ("Arm", "name"),
    ("In the loss", "supervised_tokens"),
    ("Training", "seconds"),
    ("Total tokens", "total_tokens"),
    ("Total time", "total_seconds"),
)
_EQUAL_COST_COLUMNS = (
    ("Arm", "name"),
    ("Accuracy", "accuracy"),
    ("Baseline", "baseline_accuracy"),
    ("Points", "difference"),
    ("95 % interval", "difference_interval"),
)


def comparison_markdown(results: ComparisonResults) -> str:
    """Return the page about a comparison as GitHub-flavoured Markdown, without figures and config.

    The text is deterministic, and ends with a newline. Names and texts of the results are escaped.
    """
    found = findings(results)
    contrasts = contrast_rows(found)
    trainings = training_rows(results, found)
    arms = arm_rows(results, found)
    untested = [row for row in arms if row.verdict == "untested"]
    head, further = further_set_table(results)
    blocks = [
        f"# {escaped(results.name)}",
        escaped(headline(results, found)),
        _bullets(cautions(results)),
        _conditions(results),
        _row_table(_ARM_COLUMNS, arms),
        *_section(f"Against {results.baseline}, or as said", _CONTRAST_COLUMNS, contrasts),
        *_section(f"Against {results.baseline}, not tested", _UNTESTED_COLUMNS, untested),
        escaped(sensitivity(results, found)),
        _bullets(f"{row.label}: {row.words}" for row in contrasts),
        *_section(
            "Reasoning steps and keypoints", _STEP_COLUMNS, arms if has_steps(results) else ()
        ),
        *_section(
            "Validation accuracy during the training",
            _TRAINING_COLUMNS,
            trainings if are_measured(trainings) else (),
        ),
        *_section("Cost with one seed", _COST_COLUMNS, trainings),
        *_section(
            "At equal cost", _EQUAL_COST_COLUMNS, trainings if results.longer_baseline else ()
        ),
        "## Accuracy by number of reasoning steps",
        _step_table(results, step_groups(results)),
        *(("## Further test sets", _table(head, further)) if further else ()),
        "## How to read it",
        _bullets(notes(results)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    """Escape the special characters of Markdown and HTML in a text inside a line or a table cell.

    A line break with the white space around it becomes a space, white space at both ends is removed, and
    control characters are made visible as in `visible`. GitHub still links web addresses and replaces
    codes of emojis.
    """
    line = re.sub(r"\s*\n\s*", " ", visible(text)).strip()
    line = _SPECIAL.sub(lambda match: f"\\{match.group()}", line)
    return re.sub("[&<>]", lambda match: _HTML[match.group()], line)


def _conditions(results: ComparisonResults) -> str:
    """Return a line with the seeds, the number of test questions, the budget and the nodes."""
    seeds = ", ".join(str(seed) for seed in results.seeds)
    parts = (f"Seeds {seeds}", f"{results.num_questions:,} test questions")
    texts = [*parts, f"budget: {results.budget}", results.nodes and f"trained on {results.nodes}"]
    return escaped("; ".join(text for text in texts if text)) + "."


def has_steps(results: ComparisonResults) -> bool:
    """Return whether something is known about the answers' steps or the keypoints of an arm."""
    return any(arm.early_stops or arm.keypoint_share for arm in results.arms)


def _section(
    title: str, columns: Sequence[tuple[str, str]], rows: Sequence[object]
) -> tuple[str, ...]:
    """Return a heading and the table of `_row_table`; nothing without rows."""
    return (f"## {escaped(title)}", _row_table(columns, rows)) if rows else ()


def _row_table(columns: Sequence[tuple[str, str]], rows: Sequence[object]) -> str:
    """Return a table with a line for each row; columns are pairs of a heading and a field."""
    cells = [[getattr(row, field) for _, field in columns] for row in rows]
    return _table([head for head, _ in columns], cells)


def _step_table(results: ComparisonResults, groups: Sequence[StepGroup]) -> str:
    head = ("Arm", *(f"{group.num_steps} ({group.num_questions:,})" for group in groups))
    columns = zip(*(group.accuracies for group in groups), strict=True)
    rows = [
        [arm.name, *(percent(share) for share in shares)]
        for arm, shares in zip(results.arms, columns, strict=True)
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["--:"] * (len(head) - 1)]
    lines = [head, *rows]
    texts = ["| " + " | ".join(escaped(cell) or NO_VALUE for cell in line) + " |" for line in lines]
    return "\n".join([texts[0], "| " + " | ".join(ruler) + " |", *texts[1:]])


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {escaped(text)}" for text in texts)
