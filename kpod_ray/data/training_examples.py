"""The examples that a student trains on: the settings of the student, applied to tokenised examples.

The token weights of an example become the weights of its tokens in the loss here. Step difficulty (Eq.
8) takes the weights of the example as it was tokenised, which these settings don't change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kpod_ray.config import StudentConfig
from kpod_ray.data.examples import Example

BOUNDARY_WEIGHT = 1.0
"""Weight in the loss of the first token of a reasoning step: that of the closing words."""


def training_example(example: Example, student: StudentConfig, seed: int) -> Example:
    """Return an example with the settings ``token_weights``, ``boundary`` and ``target`` applied.

    ``token_weights`` and ``boundary`` change the weights (`loss_weights`), and ``target: answer`` leaves
    out the rationale (`supervised_example`). ``seed`` is the seed of the permutations of shuffled
    weights.
    """
    weighted = dataclasses.replace(example, token_weights=loss_weights(example, student, seed))
    return supervised_example(weighted, student)


def supervised_example(example: Example, student: StudentConfig) -> Example:
    """Return an example with the setting ``target`` applied, the token weights unchanged.

    With ``answer``, the example of `answer_alone`; with ``rationale``, the argument itself.
    """
    return answer_alone(example) if student.target == "answer" else example


def loss_weights(example: Example, student: StudentConfig, seed: int) -> list[float]:
    """Return the weight in the loss of each target token of an example, w of Eq. 15.

    With ``student.boundary``, the tokens in `Example.token_boundaries` get `BOUNDARY_WEIGHT`.
    ``student.token_weights`` chooses the weights of the rationale's other tokens: those of the example
    (``from_weighting``), 1 (``uniform``), or those of the example in a random order (``shuffled``),
    drawn for each example from ``seed`` and the question id: the weights are the same ones, for other
    tokens. The answer segment keeps its weights of 1.
    """
    if student.token_weights == "uniform":
        return [1.0] * len(example.target_ids)
    weights = np.array(example.token_weights, np.float64)
    is_boundary = np.array(example.token_boundaries, bool) & student.boundary
    if student.token_weights == "shuffled":
        in_rationale = np.array(example.token_steps) < example.num_steps
        positions = np.flatnonzero(in_rationale & ~is_boundary)
        # The id is a part of the seed, so that the order doesn't depend on the other examples.
        generator = np.random.default_rng([seed, *example.question_id.encode()])
        weights[positions] = weights[generator.permutation(positions)]
    weights[is_boundary] = BOUNDARY_WEIGHT
    return weights.tolist()


def answer_alone(example: Example) -> Example:
    """Return a copy of an example whose target is the answer segment alone; ``num_steps`` stays.

    The target of a cut example (`cut_example`) becomes empty.
    """
    steps: Sequence[int] = example.token_steps
    return example.with_target([j for j, step in enumerate(steps) if step >= example.num_steps])
