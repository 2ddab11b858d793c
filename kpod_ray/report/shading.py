"""Cut a rationale into pieces with one token weight each, grouped by reasoning step, to colour them.

Concatenated, the pieces are the rationale's text, also for spans with gaps or overlaps. Characters that
no token covers form a piece without a weight; a character that several tokens cover belongs to the token
that starts first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kpod_ray.data.token_kinds import KEYPOINT, keypoint_share, token_kinds
from kpod_ray.records import WeightedRationale
from kpod_ray.report.formatting import percent


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive characters of one token, or consecutive characters that no token covers."""

    text: str
    weight: float | None
    """Token weight, w of Eq. 3; None for characters that no token covers."""
    shade: float
    """Strength of the colour, in [0, 1], see `shade`; 0 without a weight."""


@dataclass(frozen=True, slots=True)
class ShownStep:
    """One reasoning step, or the text after the last step: its pieces and its difficulty."""

    pieces: tuple[Piece, ...]
    """Pieces in the order of the text; together they are the text of the step."""
    difficulty: float
    """d of Eq. 8, in nats; NaN if unknown."""


def shade(weight: float) -> float:
    """Return the strength of a token weight's colour: the weight itself, cut to [0, 1]; 0 for NaN."""
    return min(1.0, max(0.0, weight)) if math.isfinite(weight) else 0.0


def keypoint_shares(rationale: WeightedRationale) -> tuple[float, float]:
    """Return the keypoints' shares of a rationale's token weight and of its tokens, in [0, 1].

    Keypoints are those of `token_kinds`. Both shares are NaN without a weight above 0, and for a single
    span over the whole text, which is no token (`unweighted`).
    """
    weights = np.asarray(rationale.token_weights, dtype=np.float64)
    kinds = token_kinds(rationale.text, rationale.token_starts, rationale.token_ends)
    share = keypoint_share(weights, kinds == KEYPOINT) if len(weights) > 1 else None
    return (math.nan, math.nan) if share is None else (share, float((kinds == KEYPOINT).mean()))


def keypoint_text(rationale: WeightedRationale) -> str:
    """Return the `keypoint_shares` of a rationale in words; empty if they are NaN."""
    of_weight, of_tokens = keypoint_shares(rationale)
    if math.isnan(of_weight):
        return ""
    return f"keypoints: {percent(of_weight)} of the weight, {percent(of_tokens)} of the tokens"


def shown_steps(
    rationale: WeightedRationale, step_difficulties: Sequence[float]
) -> tuple[ShownStep, ...]:
    """Cut a rationale into its reasoning steps, and each step into pieces with one token weight each.

    A step reaches from the end of the previous step to its own end; ``step_starts`` isn't used. A token
    that lies in two steps is cut, and both parts keep its weight. Text after the last step becomes a
    further step of unknown difficulty. Texts aren't escaped.

    Args:
        rationale: rationale with step ends in ascending order; ends behind the text count as the end of
            the text.
        step_difficulties: difficulty of each step in nats, empty steps included. Steps beyond its length
            get NaN; further difficulties are ignored.

    Returns:
        The steps in the order of the text, without empty steps; empty for an empty text.
    """
    pieces = _pieces(rationale)
    difficulties = [*step_difficulties, *[math.nan] * len(rationale.step_ends)]
    boundaries = [0]
    shown = []
    for end, difficulty in zip(rationale.step_ends, difficulties, strict=False):
        start, end = boundaries[-1], min(end, len(rationale.text))
        if end > start:
            shown.append(ShownStep(_cut(pieces, start, end), difficulty))
            boundaries.append(end)
    if boundaries[-1] < len(rationale.text):
        rest = _cut(pieces, boundaries[-1], len(rationale.text))
        shown.append(ShownStep(rest, math.nan))
    return tuple(shown)


def _pieces(rationale: WeightedRationale) -> list[tuple[int, Piece]]:
    """Return pieces that cover the whole text in order, each with the index of its first character."""
    text = rationale.text
    position = 0
    pieces: list[tuple[int, Piece]] = []
    spans = zip(rationale.token_starts, rationale.token_ends, rationale.token_weights, strict=False)
    for start, end, weight in sorted(spans):
        start, end = max(start, position), min(end, len(text))
        if end <= start:
            continue
        if start > position:
            pieces.append((position, Piece(text[position:start], None, 0.0)))
        pieces.append((start, Piece(text[start:end], weight, shade(weight))))
        position = end
    if position < len(text):
        pieces.append((position, Piece(text[position:], None, 0.0)))
    return pieces


def _cut(pieces: list[tuple[int, Piece]], start: int, end: int) -> tuple[Piece, ...]:
    """Return the pieces of the characters ``[start, end)``; pieces across an end are cut."""
    inside = []
    for at, piece in pieces:
        text = piece.text[max(0, start - at) : max(0, end - at)]
        if text:
            inside.append(Piece(text, piece.weight, piece.shade))
    return tuple(inside)
