"""Analysis of variance of paired differences, [S, Q], over training seeds and test questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class MeanSquares:
    """The mean squares of a two-way analysis of variance with one observation per cell.

    A mean square without degrees of freedom is 0.
    """

    seeds: float
    questions: float
    rest: float
    num_seeds: int
    num_questions: int

    def variance(self, num_seeds: int | None = None) -> float:
        """Return the estimated variance of the mean of d, or of that of another number of seeds.

        The estimate is the sum of the mean squares of seeds and questions minus that of the rest,
        divided by S Q. The effects of the seeds, and those of the questions, are taken to have at least
        the variance 0: an estimate below 0 is noise.
        """
        of_questions = max(0.0, self.questions - self.rest) / self.num_seeds
        of_seeds = max(self.seeds, self.rest) / (num_seeds or self.num_seeds)
        return (of_questions + of_seeds) / self.num_questions

    def degrees(self) -> float:
        """Return Satterthwaite's degrees of freedom of `variance`, at least 1."""
        seeds, questions = self.num_seeds - 1, self.num_questions - 1
        parts = (
            (self.seeds, seeds),
            (self.questions, questions),
            (self.rest, seeds * questions),
        )
        spread = sum(square**2 / freedom for square, freedom in parts if freedom)
        total = self.variance() * self.num_seeds * self.num_questions
        return max(1.0, total**2 / spread) if spread else 1.0


def mean_squares(differences: Floats) -> MeanSquares:
    """Return the mean squares of differences d, [S, Q].

    Raises:
        ValueError: d isn't two-dimensional, or empty.
    """
    if differences.ndim != 2 or differences.size == 0:
        raise ValueError(f"differences of shape {differences.shape} are no table")
    num_seeds, num_questions = differences.shape
    centred = differences - differences.mean()
    of_seeds = centred.mean(axis=1)
    of_questions = centred.mean(axis=0)
    rest = centred - of_seeds[:, None] - of_questions
    return MeanSquares(
        seeds=num_questions * float(np.square(of_seeds).sum()) / max(1, num_seeds - 1),
        questions=num_seeds * float(np.square(of_questions).sum()) / max(1, num_questions - 1),
        rest=float(np.square(rest).sum()) / max(1, (num_seeds - 1) * (num_questions - 1)),
        num_seeds=num_seeds,
        num_questions=num_questions,
    )
