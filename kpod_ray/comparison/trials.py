"""The trials of a comparison: the settings of every arm with every seed, and their fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import LONGER_BASELINE, UNTRAINED
from kpod_ray.data.batches import num_loss_tokens
from kpod_ray.data.examples import Example
from kpod_ray.data.training_examples import supervised_example
from kpod_ray.pipeline.naming import Run, name_run
from kpod_ray.records import StageRow
from kpod_ray.report.comparison.outcomes import Outcomes


@dataclasses.dataclass(frozen=True)
class Trial:
    """One arm with one seed."""

    arm: str
    seed: int
    settings: str
    """Fingerprint of the settings without the seed, see `arm_settings`."""
    run: Run


def seed_overrides(config: RunConfig, seed: int) -> dict[str, Any]:
    """Return the overrides of the config that a seed of the comparison sets.

    The test questions and the further test sets are those of ``config`` with every seed; see
    ``comparison.resample``.
    """
    overrides: dict[str, Any] = {"student.seed": seed}
    if config.comparison.resample != "order":
        overrides["questions.train_seed"] = seed
    if config.comparison.resample == "all":
        test_seed = config.questions.test_seed
        overrides["questions.test_seed"] = config.seed if test_seed is None else test_seed
        overrides["seed"] = seed
        for name, source in config.evaluation.also.items():
            test_seed = config.seed if source.test_seed is None else source.test_seed
            overrides[f"evaluation.also.{name}.test_seed"] = test_seed
    return overrides


def trial_config(
    config: RunConfig, arm: str, seed: int, overrides: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the config of an arm with a seed; ``overrides`` have priority over both.

    The arm `LONGER_BASELINE` has the settings of the baseline.

    Raises:
        KpodError: An override isn't allowed, see `RunConfig.override`.
    """
    comparison = config.comparison
    name = comparison.baseline if arm == LONGER_BASELINE else arm
    own = comparison.chosen()[name].overrides
    return config.override({**own, **seed_overrides(config, seed), **(overrides or {})})


def arm_settings(config: RunConfig) -> dict[str, str]:
    """Return arm -> fingerprint of all settings that determine its outcomes, but the seed.

    The fingerprint covers the content of files and models, like that of an artifact. `UNTRAINED` is
    included. Adding arms or seeds changes no fingerprint.

    Raises:
        KpodError: As in `name_run`.
    """
    comparison = config.comparison
    rates = comparison.learning_rates
    neutral = {"student.learning_rate": min(rates)} if rates else {}
    evaluations = {
        arm: _answers(name_run(trial_config(config, arm, 0, neutral)), "evaluate", "evaluate_also")
        for arm in comparison.arms
    }
    shared = [
        comparison.resample,
        sorted(rates),
        comparison.num_tuning_seeds if rates else None,
        evaluations[comparison.baseline] if comparison.budget == "loss_tokens" else None,
    ]
    settings = {arm: fingerprint([own, shared]) for arm, own in evaluations.items()}
    untrained = _answers(name_run(config), "evaluate_before", "evaluate_also_before")
    return {UNTRAINED: untrained, **settings}


def _answers(run: Run, tests: str, further: str) -> str:
    """Return the fingerprint of a model's answers to the test questions and to the further sets, if any.

    ``tests`` and ``further`` are the names of the artifacts with the answers.
    """
    own = run.artifacts[tests].fingerprint
    return (
        fingerprint([own, run.artifacts[further].fingerprint]) if further in run.artifacts else own
    )


def fingerprint(content: Sequence[Any]) -> str:
    """Return 16 hexadecimal digits that depend on JSON-serializable content alone."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def planned_arms(config: RunConfig, missing: Sequence[tuple[str, int]]) -> list[str]:
    """Return the arms whose plans the missing trials need, in the order of the arms.

    ``missing`` has the arm and the seed of each trial. With ``comparison.budget=loss_tokens`` the plan
    of the baseline sets the budget of every arm.
    """
    comparison = config.comparison
    needed = {arm for arm, _ in missing}
    if missing and comparison.budget == "loss_tokens":
        needed.add(comparison.baseline)
    return [arm for arm in comparison.arms if arm in needed]


def budget_of(config: RunConfig, seed: int) -> Mapping[str, Any]:
    """Return the overrides of the config that give all arms with a seed the same training budget.

    With ``comparison.budget=loss_tokens`` the baseline's plan for the seed must be finished.
    """
    comparison = config.comparison
    if comparison.budget == "train_steps":
        return {}  # every stage has the same number of train steps in every arm
    baseline = name_run(trial_config(config, comparison.baseline, seed))
    examples = Example.from_table(baseline.artifacts["assess"].read("examples"))
    rows = StageRow.from_table(baseline.artifacts["plan"].read("schedule"))
    return {"student.loss_token_budget": _supervised_tokens(examples, rows, baseline.config)}


def longer_budget(config: RunConfig, outcomes: Outcomes, seed: int) -> int:
    """Return the loss tokens after which the baseline has cost as much as the most expensive arm.

    The costs are the total tokens of the arms with the seed, whose outcomes must all be known. The
    longer training is taken to process as many tokens for a token in the loss as the baseline's.
    """
    comparison = config.comparison
    baseline = outcomes.trials[comparison.baseline, seed]
    target = max(outcomes.trials[arm, seed].cost_tokens for arm in comparison.arms)
    overhead = baseline.cost_tokens - baseline.train_tokens
    return round(baseline.supervised_tokens * (target - overhead) / baseline.train_tokens)


def _supervised_tokens(
    examples: Sequence[Example], rows: Sequence[StageRow], config: RunConfig
) -> int:
    """Return the number of tokens in the loss over all stages of a plan."""
    by_id = {e.question_id: supervised_example(e, config.student) for e in examples}
    return sum(
        num_loss_tokens(by_id[row.question_id], row.num_given_steps)
        for row in rows
        if row.stage > 0  # stage 0 is the state before training
    )
