"""Read how both students did on the further test sets of a run (``evaluation.also``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kpod_ray.evaluation.paired import PairedTest, compare_models
from kpod_ray.questions.further import FURTHER_ARTIFACTS
from kpod_ray.storage.artifacts import Artifact, Manifest


@dataclass(frozen=True, slots=True)
class FurtherResult:
    """The scores of the untouched and of the distilled student on a further test set."""

    name: str
    num_left_out: int
    """Number of questions of the set that weren't asked because they repeat a training question."""
    before: Manifest
    """``counts``, ``accuracy`` and ``steps`` of the untouched student, as in the manifest of
    ``evaluate``."""
    after: Manifest
    """The same of the distilled student."""
    test: PairedTest
    """Test of the distilled against the untouched student on the same questions."""


def predictions_table(name: str) -> str:
    """Return the name of the table with the predictions for a further test set."""
    return f"predictions_{name}"


def further_results(artifacts: Mapping[str, Artifact]) -> tuple[FurtherResult, ...]:
    """Return the results on each further test set, in the order of the config.

    The result is empty for a run without further sets, and until both students are evaluated.

    Args:
        artifacts: name -> artifact of the run.

    Raises:
        KpodError: A finished artifact is damaged.
        ValueError: The artifacts aren't of the same run.
    """
    made = [artifacts[name] for name in FURTHER_ARTIFACTS if name in artifacts]
    if not made or not all(artifact.is_finished() for artifact in made):
        return ()
    questions, before, after = made
    scores_before, scores_after = (artifact.manifest()["sets"] for artifact in (before, after))
    results = []
    for name, counts in questions.manifest()["sets"].items():
        test = compare_models(before, after, predictions_table(name))
        if test is None:
            raise ValueError(f"the two students answered no question of {name} in common")
        left_out = counts["repeats_of_training"]
        results.append(FurtherResult(name, left_out, scores_before[name], scores_after[name], test))
    return tuple(results)
