"""Assemble the results of a comparison from its config and its outcomes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import numpy as np

from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import LONGER_BASELINE, UNTRAINED, Arm
from kpod_ray.config.reading.strict_yaml import write_yaml
from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.comparison.outcomes import (
    ChosenRate,
    Outcomes,
    TrialOutcome,
    complete_seeds,
)


def assemble_results(config: RunConfig, outcomes: Outcomes) -> ComparisonResults:
    """Return the results of a comparison, with the untouched student (`UNTRAINED`) as the first arm.

    The seeds are those with which every arm of the config has an outcome, whatever the config's seeds.

    Args:
        config: config of the comparison.
        outcomes: outcomes of the comparison: the test questions, the untouched student, and each arm
            with at least one seed that all arms have.

    Raises:
        KeyError: The outcome of the untouched student is missing.
        ValueError: No seed is complete, or the arms can't be compared, see `ComparisonResults`.
    """
    comparison = config.comparison
    chosen = comparison.chosen()
    longer = (LONGER_BASELINE,) if comparison.equal_cost else ()
    seeds = complete_seeds(outcomes, (*chosen, *longer))
    untouched = outcomes.trials[UNTRAINED, 0]
    untrained = ArmResults(
        UNTRAINED,
        "the student as it comes",
        {},
        _correct([untouched]),
        also=_also([untouched]),
        generated_minus_gold=_extra_steps([untouched]),
        early_stops=_early_stops([untouched]),
    )
    trials = {name: [outcomes.trials[name, s] for s in seeds] for name in (*chosen, *longer)}
    arms = [_arm(name, arm, trials[name], outcomes.rates.get(name)) for name, arm in chosen.items()]
    return ComparisonResults(
        name=config.name,
        baseline=comparison.baseline,
        budget=comparison.budget.replace("_", " "),
        seeds=tuple(seeds),
        arms=(untrained, *arms),
        num_steps_of_question=outcomes.questions.num_steps if outcomes.questions else (),
        contrasts=comparison.contrasts,
        resample=comparison.resample,
        longer_baseline=_longer(config, trials[LONGER_BASELINE]) if longer else None,
        config_yaml=write_yaml(config.model_dump(mode="json")),
        versions=untouched.versions,
        nodes=_nodes(trial for of_arm in trials.values() for trial in of_arm),
    )


def _longer(config: RunConfig, trials: Sequence[TrialOutcome]) -> ArmResults:
    """Return the results of the baseline that was trained until the largest cost of all arms."""
    baseline = config.comparison.chosen()[config.comparison.baseline]
    return _arm(LONGER_BASELINE, baseline, trials, None)


def _arm(
    name: str, arm: Arm, trials: Sequence[TrialOutcome], rate: ChosenRate | None
) -> ArmResults:
    """Return the results of one trained arm from the outcome of each seed."""
    return ArmResults(
        name=name,
        description=arm.description,
        overrides=arm.overrides,
        correct=_correct(trials),
        also=_also(trials),
        supervised_tokens=tuple(trial.supervised_tokens for trial in trials),
        train_tokens=tuple(trial.train_tokens for trial in trials),
        train_steps=tuple(trial.train_steps for trial in trials),
        train_seconds=tuple(trial.train_seconds for trial in trials),
        cost_tokens=tuple(trial.cost_tokens for trial in trials),
        cost_seconds=tuple(trial.cost_seconds for trial in trials),
        curves=tuple(trial.curve for trial in trials),
        keypoint_share=tuple(t.keypoint_share for t in trials if t.keypoint_share is not None),
        generated_minus_gold=_extra_steps(trials),
        early_stops=_early_stops(trials),
        learning_rate=trials[0].learning_rate if trials else None,
        tried_rates=rate.accuracies if rate else (),
    )


def _extra_steps(trials: Sequence[TrialOutcome]) -> tuple[float, ...]:
    """Return the mean of the generated minus the gold steps of each seed for which it is known."""
    counts = ([n for n in trial.extra_steps if n is not None] for trial in trials)
    return tuple(statistics.fmean(values) for values in counts if values)


def _early_stops(trials: Sequence[TrialOutcome]) -> tuple[float, ...]:
    """Return the fraction of early stops of each seed for which it is known."""
    digits = (trial.early_stops.replace("-", "") for trial in trials)
    return tuple(known.count("1") / len(known) for known in digits if known)


def _correct(trials: Sequence[TrialOutcome]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return whether each answer is correct, [num_seeds, num_questions]."""
    rows = [[digit == "1" for digit in trial.correct] for trial in trials]
    return np.array(rows, dtype=np.bool_).reshape(len(rows), -1)


def _also(trials: Sequence[TrialOutcome]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the counts of each further test set that all trials have answered."""
    names = [name for name in trials[0].also if all(name in trial.also for trial in trials)]
    return {name: tuple(trial.also[name] for trial in trials) for name in names}


def _nodes(trials: Iterable[TrialOutcome]) -> str:
    """Return how many nodes trained the students and which labels they have, in words."""
    nodes = {node: labels for trial in trials for node, labels in trial.nodes.items()}
    labels = sorted(
        {f"{name}={value}" for of_node in nodes.values() for name, value in of_node.items()}
    )
    if not nodes:
        return ""
    text = "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"
    return f"{text} ({', '.join(labels)})" if labels else text
