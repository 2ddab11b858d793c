"""Build the tables of a run for a tracker.

The tables have a bounded number of rows. Texts are clipped, and control characters are made visible.
"""

from __future__ import annotations

import html
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import question_text
from kpod_ray.records import USED_VERDICTS, Prediction, Question, Rationale, WeightedRationale
from kpod_ray.report.formatting import clipped, visible
from kpod_ray.report.shading import Piece, keypoint_shares, shown_steps
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.tracking import Markup

MAX_ROWS = 200
"""Rows of a table."""
MAX_RATIONALES = 50
"""Rows of the table of rationales with token weights; fewer, because W&B stores each as a file."""
MAX_TOKENS = 2000
"""Tokens of a rationale that are shown with their weights; the rest of the text is left out."""
Row = dict[str, Any]
Artifacts = Mapping[str, Artifact]


def reject_rows(artifacts: Artifacts) -> list[Row]:
    """Return up to `MAX_ROWS` of the teacher's rationales that aren't trained on, sorted by verdict.

    Each verdict gets an equal share of the rows, filled with its first rationales in the table
    ``rejects``; a share that a rare verdict doesn't fill isn't given to other verdicts. The artifacts
    ``teacher`` and ``questions`` must be finished.

    Returns:
        Rows with the columns ``verdict``, ``question_id``, ``question``, ``rationale``, ``answer`` (the
        answer extracted from the rationale), ``gold`` and ``finish_reason``. Texts are clipped.
    """
    verdicts = artifacts["teacher"].manifest()["verdicts"]
    reasons = {
        verdict: count for verdict, count in verdicts.items() if verdict not in USED_VERDICTS
    }
    most = max(1, MAX_ROWS // max(1, len(reasons)))
    wanted = Counter({verdict: min(most, count) for verdict, count in reasons.items()})
    chosen = []
    for row in table_rows(artifacts["teacher"], "rejects", Rationale):
        if not wanted.total():
            break
        if wanted[row.verdict]:
            wanted[row.verdict] -= 1
            chosen.append(row)
    chosen.sort(key=lambda row: row.verdict)
    questions = _questions(artifacts, {row.question_id for row in chosen})
    return [
        {
            "verdict": row.verdict,
            "question_id": _text(row.question_id),
            "question": _question_text(questions, row.question_id),
            "rationale": _text(row.text),
            "answer": _text(row.predicted_answer),
            "gold": _gold(questions, row.question_id),
            "finish_reason": _text(row.finish_reason),
        }
        for row in chosen
    ]


def rationale_rows(artifacts: Artifacts) -> list[Row]:
    """Return the first `MAX_RATIONALES` rationales, with token weights as background colours.

    The artifacts ``weigh``, ``questions`` and ``teacher`` must be finished.

    Returns:
        Rows in the order of the table ``weighted``, with the columns ``question_id``, ``question``
        (clipped), ``rationale`` (`Markup` of `weighted_html`), ``steps`` and ``tokens`` (counts),
        ``mean_weight``, and ``keypoint_share`` of the weight (None for uniform weights).
    """
    rows = table_rows(artifacts["weigh"], "weighted", WeightedRationale)
    shown = list(itertools.islice(rows, MAX_RATIONALES))
    questions = _questions(artifacts, {row.question_id for row in shown})
    return [
        {
            "question_id": _text(row.question_id),
            "question": _question_text(questions, row.question_id),
            "rationale": Markup(weighted_html(row)),
            "steps": len(row.step_starts),
            "tokens": len(row.token_weights),
            "mean_weight": sum(row.token_weights) / max(1, len(row.token_weights)),
            "keypoint_share": _number(keypoint_shares(row)[0]),
        }
        for row in shown
    ]


def _number(value: float) -> float | None:
    """Return a number as a table cell; None for NaN."""
    return None if math.isnan(value) else value


def weighted_html(rationale: WeightedRationale) -> str:
    """Return a rationale as HTML: a list item for each reasoning step, a background for each token.

    All text is escaped, so that a model's text can't add a script or a link. Only the first `MAX_TOKENS`
    pieces of the rationale (see `shown_steps`) are shown, without a mark where the text is cut.

    Args:
        rationale: rationale with its token weights. The opacity of a background is the weight, which is
            the tooltip, too.
    """
    steps = shown_steps(rationale, ())
    num_left = MAX_TOKENS
    lines = []
    for step in steps:
        lines.append("".join(_piece(piece) for piece in step.pieces[:num_left]))
        num_left = max(0, num_left - len(step.pieces))
    body = "".join(f"<li>{line}</li>" for line in lines if line)
    return f'<meta charset="utf-8"><ol style="font-family:sans-serif">{body}</ol>'


def _piece(piece: Piece) -> str:
    text = html.escape(visible(piece.text))
    if piece.weight is None:
        return text
    style = f"background:rgba(255,152,0,{piece.shade:.2f})"
    return f'<span style="{style}" title="{piece.weight:.3f}">{text}</span>'


def given_steps_rows(plan: Artifact) -> list[Row]:
    """Return the number of questions of a plan by stage and number of given steps, sorted by both.

    The columns are ``stage``, ``given_steps`` and ``questions``; ``plan`` is a finished artifact. Stage
    0 is the state before training. Combinations without questions have no row.
    """
    counts = Counter[tuple[int, int]]()
    for batch in plan.batches("schedule", 1 << 16):
        columns = (batch["stage"].to_pylist(), batch["num_given_steps"].to_pylist())
        counts.update(zip(*columns, strict=True))
    return [
        {"stage": stage, "given_steps": given, "questions": count}
        for (stage, given), count in sorted(counts.items())
    ]


def prediction_rows(artifacts: Artifacts) -> list[Row]:
    """Return the first `MAX_ROWS` test questions with the predictions of the student before and after.

    The artifacts ``evaluate`` and ``questions`` must be finished, but ``evaluate_before`` need not be.

    Returns:
        Rows in the order of the table ``predictions`` of ``evaluate``, with the columns ``question_id``,
        ``question``, ``gold`` and ``change``; and ``correct`` (a boolean), ``answer`` (extracted from
        the text) and ``text``, each with the prefix ``before_`` (the untouched student) and ``after_``
        (the distilled student). Texts are clipped. ``change`` is ``right before and after``, ``lost``,
        ``gained`` or ``wrong before and after``; without a prediction of the untouched student,
        ``change`` is ``unknown`` and the cells ``before_...`` are None.
    """
    rows = table_rows(artifacts["evaluate"], "predictions", Prediction)
    after = list(itertools.islice(rows, MAX_ROWS))
    before = _before(artifacts["evaluate_before"], {row.question_id for row in after})
    questions = _questions(artifacts, {row.question_id for row in after})
    return [
        {
            "question_id": _text(row.question_id),
            "question": _question_text(questions, row.question_id),
            "gold": _text(row.gold_answer),
            "change": _change(before.get(row.question_id), row),
            "before_correct": _of(before.get(row.question_id), "is_correct"),
            "after_correct": row.is_correct,
            "before_answer": _of(before.get(row.question_id), "predicted_answer"),
            "after_answer": _text(row.predicted_answer),
            "before_text": _of(before.get(row.question_id), "text"),
            "after_text": _text(row.text),
        }
        for row in after
    ]


def _change(before: Prediction | None, after: Prediction) -> str:
    if before is None:
        return "unknown"
    words = {
        (True, True): "right before and after",
        (True, False): "lost",
        (False, True): "gained",
        (False, False): "wrong before and after",
    }
    return words[before.is_correct, after.is_correct]


def _before(artifact: Artifact, ids: set[str]) -> dict[str, Prediction]:
    """Return question id -> prediction of the untouched student; empty if it isn't evaluated yet."""
    if not artifact.is_finished():
        return {}
    return _found(table_rows(artifact, "predictions", Prediction), lambda row: row.question_id, ids)


def _of(row: Prediction | None, name: str) -> Any:
    """Return a field of a prediction as a table cell; None without a prediction."""
    value = None if row is None else getattr(row, name)
    return _text(value) if isinstance(value, str) else value


def _questions(artifacts: Artifacts, ids: set[str]) -> dict[str, Question]:
    """Return id -> question of the given ids; copies of questions are in the teacher's table only."""
    found: dict[str, Question] = {}
    for name in ("questions", "teacher"):
        missing = ids - found.keys()
        if missing and artifacts[name].is_finished():
            rows = table_rows(artifacts[name], "questions", Question)
            found |= _found(rows, lambda row: row.id, missing)
    return found


def _found(rows: Iterable[Any], id_of: Any, ids: set[str]) -> dict[str, Any]:
    """Return id -> row of the given ids, and stop reading once all of them are found."""
    found: dict[str, Any] = {}
    for row in rows:
        if id_of(row) in ids:
            found[id_of(row)] = row
            if len(found) == len(ids):
                break
    return found


def _question_text(questions: Mapping[str, Question], question_id: str) -> str:
    question = questions.get(question_id)
    return _text(question_text(question)) if question else "(belongs to no question)"


def _gold(questions: Mapping[str, Question], question_id: str) -> str:
    question = questions.get(question_id)
    return _text(question.answer) if question else ""


def _text(text: str) -> str:
    return visible(clipped(text))
