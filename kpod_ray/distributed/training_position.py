"""How far a training is, and what it has brought so far."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

History = list[dict[str, float]]


@dataclasses.dataclass
class Position:
    """The train step that comes next, and what came before it."""

    stage: int = 1
    stage_steps: int = 0
    """Train steps of the stage that are done."""
    train_steps: int = 0
    """Train steps of all stages that are done."""
    loss_tokens: int = 0
    """Tokens that have been in the loss."""
    best_stage: int | None = None
    """Stage after which the validation loss was lowest."""
    best_loss: float = math.inf
    examined_stages: list[int] = dataclasses.field(default_factory=list)
    """Stages after which the questions held out are answered."""


def stage_statistics(history: History, stage: int) -> dict[str, float]:
    """Return means over a stage's train steps, and what was measured after it."""
    rows = [row for row in history if row["stage"] == stage]
    names = ("loss", "rationale_loss", "answer_loss", "token_weight_mean", "tokens_per_s")
    means = {name: float(np.mean([row[name] for row in rows])) for name in names}
    measured = {name: value for name, value in rows[-1].items() if name.startswith("validation_")}
    return means | measured | {"train_steps": len(rows)}
