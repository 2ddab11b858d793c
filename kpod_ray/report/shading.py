"""A rationale cut into coloured pieces, one group for each reasoning step.

Joined, the pieces of a rationale give its text again, whatever its spans are like: a character that
no token covers is a piece without a weight, one that several tokens cover belongs to the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kpod_ray.records import WeightedRationale


@dataclass(frozen=True, slots=True)
class Piece:
    """Adjoining characters of one token, or of none."""

    text: str
    weight: float | None
    """w of Eq. 3; None outside every token."""
    shade: float
    """Strength of the colour in [0, 1]."""


@dataclass(frozen=True, slots=True)
class ShownStep:
    """One reasoning step as the page shows it."""

    pieces: tuple[Piece, ...]
    difficulty: float
    """d of Eq. 8 in nats; NaN when it is not known."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The weights that get the faintest and the strongest colour."""

    low: float
    high: float

    @classmethod
    def of(cls, rationales: Sequence[WeightedRationale]) -> Scale:
        """Return the scale from the lowest to the highest finite weight of the rationales."""
        weights = [w for rationale in rationales for w in rationale.token_weights]
        finite = [w for w in weights if math.isfinite(w)]
        return cls(min(finite), max(finite)) if finite else cls(0.0, 1.0)

    def shade(self, weight: float) -> float:
        """Return the strength of a weight's colour in [0, 1]; 0.5 when all weights are equal."""
        if not math.isfinite(weight):
            return 0.0
        if self.high <= self.low:
            return 0.5
        return min(1.0, max(0.0, (weight - self.low) / (self.high - self.low)))


def shown_steps(
    rationale: WeightedRationale, step_difficulties: Sequence[float], scale: Scale
) -> tuple[ShownStep, ...]:
    """Return the reasoning steps of a rationale with their coloured pieces and difficulties.

    A token that straddles two steps is cut, and both halves keep its weight. Text before the first
    or after the last step becomes a step of unknown difficulty; missing difficulties are NaN.
    """
    pieces = _pieces(rationale, scale)
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


def _pieces(rationale: WeightedRationale, scale: Scale) -> list[tuple[int, Piece]]:
    """Return adjoining pieces that cover the whole text, each with where it starts."""
    text, position = rationale.text, 0
    pieces: list[tuple[int, Piece]] = []
    spans = zip(rationale.token_starts, rationale.token_ends, rationale.token_weights, strict=False)
    for start, end, weight in sorted(spans):
        start, end = max(start, position), min(end, len(text))
        if end <= start:
            continue
        if start > position:
            pieces.append((position, Piece(text[position:start], None, 0.0)))
        pieces.append((start, Piece(text[start:end], weight, scale.shade(weight))))
        position = end
    if position < len(text):
        pieces.append((position, Piece(text[position:], None, 0.0)))
    return pieces


def _cut(pieces: list[tuple[int, Piece]], start: int, end: int) -> tuple[Piece, ...]:
    """Return the pieces, or parts of them, between two characters."""
    inside = []
    for at, piece in pieces:
        text = piece.text[max(0, start - at) : max(0, end - at)]
        if text:
            inside.append(Piece(text, piece.weight, piece.shade))
    return tuple(inside)
