"""The optimizer of the student: AdamW whose learning rate follows the schedule of the settings."""

from __future__ import annotations

from typing import Any

import torch

from kpod_ray.config import StudentConfig
from kpod_ray.models.learning_rate import learning_rate_factor


def build_optimizer(module: Any, config: StudentConfig) -> torch.optim.AdamW:
    """Return the optimizer of the student's parameters, with its state allocated.

    Args:
        module: the student, which may be sharded or wrapped in DDP, on its device.
        config: settings of the student.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    _initialize_state(optimizer)
    return optimizer


def learning_rate_at(done: float, config: StudentConfig) -> float:
    """Return the learning rate of the next update; ``done``, in [0, 1), is the finished fraction."""
    factor = learning_rate_factor(config.learning_rate_schedule, config.warmup, done)
    return config.learning_rate * factor


def update(optimizer: torch.optim.AdamW, learning_rate: float) -> None:
    """Update the parameters by their gradients, and clear the gradients."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad()


def _initialize_state(optimizer: torch.optim.AdamW) -> None:
    """Allocate the optimizer's state before the first train step."""
    # AdamW allocates its state in the first update, between the activations of that train step, which
    # would leave the memory fragmented for the rest of the training.
    for parameter in optimizer.param_groups[0]["params"]:
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
