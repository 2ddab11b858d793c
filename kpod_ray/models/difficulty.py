"""Difficulty of reasoning steps under a student of any family (Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from kpod_ray.algorithm.difficulty import step_difficulties
from kpod_ray.data.examples import Example
from kpod_ray.data.order import batches_by_tokens
from kpod_ray.models.student import Student
from kpod_ray.records import StepDifficulty


@torch.no_grad()
def measure_steps(
    student: Student, examples: Sequence[Example], pad_id: int, max_tokens: int
) -> Iterator[tuple[str, StepDifficulty]]:
    """Yield every example's question id and difficulties (Eq. 8), whole rationales at a time.

    Args:
        student: the student before any distillation.
        examples: of any length.
        pad_id: what batches are padded with.
        max_tokens: of one forward pass, padding counted; a longer example is a pass of its own.
    """
    device = next(student.parameters()).device
    for rows in batches_by_tokens([example.num_tokens() for example in examples], max_tokens):
        chosen = [examples[i] for i in rows]
        batch = student.collate(chosen, [0] * len(chosen), pad_id)
        token_nll = student(batch.to(device)).token_nll.cpu()
        lengths = [len(example.target_ids) for example in chosen]
        for example, nll in zip(chosen, token_nll.split(lengths), strict=True):
            yield example.question_id, _difficulties(example, nll)


def _difficulties(example: Example, token_nll: torch.Tensor) -> StepDifficulty:
    steps, weights = torch.tensor(example.token_steps), torch.tensor(example.token_weights)
    inside = steps < example.num_steps

    def of_steps(weights: torch.Tensor) -> list[float]:
        """Return the difficulty of every step under these token weights."""
        losses = token_nll[inside], weights[inside], steps[inside]
        return step_difficulties(*losses, example.num_steps).tolist()

    return StepDifficulty(example.question_id, of_steps(weights), of_steps(weights * 0))
