"""The progress of a weighter's training: which validation is the best one, and early stopping."""

from __future__ import annotations

import dataclasses
import math

from kpod_ray.config import LearnedWeighting


@dataclasses.dataclass
class WeightingProgress:
    """Position and validation results of the weighter's training, which checkpoints store."""

    train_step: int = 0
    """Number of finished train steps."""
    best: dict[str, float] | None = None
    """Metrics of the best validation; None as long as the weights were collapsed at every validation."""
    num_worse: int = 0
    """Number of validations since the best one, or since the start as long as there is none."""
    collapse: str | None = None
    """Description of the collapse at the last validation; None if the weights were sound."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    """Metrics of all validations, in order."""

    def note(self, row: dict[str, float], collapse: str | None) -> bool:
        """Record a validation in all fields but ``train_step``; to be called once for each validation.

        Args:
            row: metrics of the validation, ``validation_loss`` among them; the dict itself is kept.
            collapse: description of the weights' collapse from `collapse_of`, or None.

        Returns:
            Whether to save this weighter: its weights are sound and its loss, which isn't NaN, is below
            that of all earlier sound validations, or no validation so far had sound weights.
        """
        self.history.append(row)
        self.collapse = collapse
        best_loss = math.inf if self.best is None else self.best["validation_loss"]
        is_best = row["validation_loss"] < best_loss  # never for NaN
        if collapse is None and is_best:
            self.best = row
            self.num_worse = 0
            return True
        self.num_worse += 1
        return self.best is None

    def is_over(self, weighting: LearnedWeighting) -> bool:
        """Return whether the training ends, from what `note` and ``train_step`` recorded.

        The training ends after ``weighting.num_train_steps`` train steps, after ``weighting.patience``
        validations since the best one (or since the start, if none was sound), or if the weights are
        collapsed after an earlier sound validation.
        """
        # Weights that collapse after a sound validation are not expected to recover. Before the first
        # sound validation the training goes on, because the weights of an untrained weighter are nearly
        # equal.
        is_lost = self.best is not None and self.collapse is not None
        is_stuck = self.num_worse >= weighting.patience
        return is_lost or is_stuck or self.train_step >= weighting.num_train_steps
