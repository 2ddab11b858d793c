"""Test two models that answered the same test questions, such as a student before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kpod_ray.evaluation.statistics import (
    Discordance,
    PairedDifference,
    mcnemar,
    paired_bootstrap,
    smallest_effect,
)
from kpod_ray.storage.artifacts import Artifact

LEVEL = 0.05
"""Significance level."""
BOOTSTRAP_SEED = 0
"""Seed of the bootstrap's draws; fixed, so that a report is reproducible."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The exact McNemar test of two models on the same questions, and the difference of accuracies."""

    num_questions: int
    """Number of questions that both models answered, at least 1."""
    difference: PairedDifference
    """Accuracy of the second model minus that of the first, with its interval by a paired bootstrap over
    the questions."""
    discordance: Discordance
    """Questions that only one of the two models has right, and McNemar's p-value."""

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """The second model against the first; ``undecided`` if McNemar's p-value is at least 5 %."""
        if self.discordance.p_value >= LEVEL:
            return "undecided"
        return "better" if self.difference.value > 0 else "worse"

    @property
    def smallest_effect(self) -> float:
        """Difference that such a test finds with a power of 80 %, see `statistics.smallest_effect`."""
        return smallest_effect(self.difference.standard_error, self.num_questions, 1)


def paired_test(before: Sequence[bool], after: Sequence[bool]) -> PairedTest:
    """Return the test of two models, from whether each answer is correct.

    The arguments hold one element for each question, in the same order; at least one.

    Raises:
        ValueError: The lengths differ, or there are no answers.
    """
    first, second = (np.array([answers], dtype=np.bool_) for answers in (before, after))
    difference = paired_bootstrap(second, first, BOOTSTRAP_SEED)
    return PairedTest(second.size, difference, mcnemar(second, first))


def compare_models(
    before: Artifact, after: Artifact, table: str = "predictions"
) -> PairedTest | None:
    """Return the test of the models of two finished artifacts of phase ``evaluate``.

    Questions that only one of the two models answered don't count; None if no question is left.
    ``table`` is the name of a table of predictions that both artifacts have.

    Raises:
        KpodError: An artifact's table can't be read.
    """
    first, second = (_correct(artifact, table) for artifact in (before, after))
    shared = [question_id for question_id in second if question_id in first]
    if not shared:
        return None
    return paired_test([first[i] for i in shared], [second[i] for i in shared])


def _correct(artifact: Artifact, table: str) -> dict[str, bool]:
    """Return question id -> whether the answer is correct, in the order of the predictions."""
    rows = artifact.read(table)
    columns = (rows[name].to_pylist() for name in ("question_id", "is_correct"))
    return dict(zip(*columns, strict=True))
