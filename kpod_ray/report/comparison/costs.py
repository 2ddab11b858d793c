"""The total cost of one trained arm: training, and the token weighter and the assessment it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from kpod_ray.config import LearnedWeighting, RunConfig
from kpod_ray.storage.artifacts import Artifact


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens that went through a model, and seconds."""

    tokens: int
    seconds: float


def total_cost(config: RunConfig, artifacts: Mapping[str, Artifact]) -> Cost:
    """Return the cost of a trained arm with one seed, from its finished artifacts.

    A token counts once for each example and train step in which a model reads it. The learned token
    weighter counts where the arm uses its weights: for each of ``weighting.num_seeds`` weighters the
    train steps that were taken, with examples of mean length, and one reading of every example for the
    application; validations don't count as tokens. The assessment counts where the arm's schedule uses
    difficulties: one reading of every example. Teacher and evaluation don't count. An artifact that
    several trials share counts fully for each.

    Args:
        config: config of the trial.
        artifacts: artifacts of the trial by name; ``weigh``, ``assess``, ``plan`` and ``train`` are
            finished.
    """
    seconds = {name: artifacts[name].manifest()["seconds"] for name in ("weigh", "assess", "plan")}
    train = artifacts["train"].manifest()
    tokens, total_seconds = train["counts"]["tokens"], train["seconds"]
    lengths = _lengths(artifacts["assess"].read("examples"))
    all_tokens = int(pc.sum(lengths).as_py())
    if uses_weighter(config) and isinstance(config.weighting, LearnedWeighting):
        weighting = config.weighting
        num_steps = _num_train_steps(weighting, artifacts["weigh"])
        num_examples = weighting.global_batch_size * num_steps
        tokens += round(num_examples * all_tokens / len(lengths))
        tokens += weighting.num_seeds * all_tokens
        total_seconds += seconds["weigh"]
    if config.schedule.order != "none":
        tokens += all_tokens
        total_seconds += seconds["assess"] + seconds["plan"]
    return Cost(tokens, total_seconds)


def uses_weighter(config: RunConfig) -> bool:
    """Return whether the training depends on token weights: through its loss or its schedule."""
    student, schedule = config.student, config.schedule
    in_loss = student.token_weights != "uniform" and student.target == "rationale"
    in_schedule = schedule.order != "none" and schedule.difficulty_weights == "from_weighting"
    return in_loss or in_schedule


def _num_train_steps(weighting: LearnedWeighting, weigh: Artifact) -> int:
    """Return the train steps of all predictors and weighters; a weighter may have stopped early."""
    last = dict[float, float]()  # the rows of a weighter are in the order of its train steps
    for row in weigh.read_json("history"):
        last[row["weighter"]] = row["train_step"]
    return weighting.num_seeds * weighting.num_adapt_steps + round(sum(last.values()))


def _lengths(examples: pa.Table) -> pa.ChunkedArray:
    """Return the number of tokens of each example."""
    prompt, target = (pc.list_value_length(examples[name]) for name in ("prompt_ids", "target_ids"))
    return pc.add(prompt, target)
