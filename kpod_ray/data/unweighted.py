"""Rationales without a weighter: every token weighs 1."""

from __future__ import annotations

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.records import Rationale, WeightedRationale


def unweighted(rationale: Rationale, *, split_newlines: bool) -> WeightedRationale:
    """Return a rationale with its reasoning steps and one span of weight 1 over the whole text."""
    steps = split_steps(rationale.text, split_newlines=split_newlines)
    return WeightedRationale(
        question_id=rationale.question_id,
        text=rationale.text,
        token_starts=[0],
        token_ends=[len(rationale.text)],
        token_weights=[1.0],
        step_starts=[start for start, _ in steps],
        step_ends=[end for _, end in steps],
    )
