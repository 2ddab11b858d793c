"""Made-up results of a sweep for tests of its report, also with a given text in every place."""

import dataclasses
import math
import random

from kpod_ray.config import SweepConfig
from kpod_ray.evaluation.paired import paired_test
from kpod_ray.report.sweep.data import SweepPage, SweepTrial


def sweep_trial(index, generator):
    """Return a trial; the objective is low for a small growth and a learning rate near 3e-5."""
    settings = {
        "schedule.diversity_weight": generator.uniform(0, 24),
        "schedule.growth": generator.uniform(0.2, 2),
        "schedule.num_clusters": generator.randint(2, 12),
        "schedule.solver": generator.choice(["merge", "threshold"]),
        "student.learning_rate": 10 ** generator.uniform(-6, -4),
    }
    off = (math.log10(settings["student.learning_rate"]) + 4.5) ** 2
    level = 0.5 + 0.25 * off + 0.1 * settings["schedule.growth"] + generator.uniform(0, 0.02)
    curve = tuple((12.5 * k, level + 0.8 * math.exp(-k / 2)) for k in range(1, 9))
    if index % 4:
        state = "failed" if index == 7 else "stopped"
        curve = () if index == 7 else curve[: 1 if index % 3 else 4]
    else:
        state = "finished"
    return SweepTrial(f"a1b2c_{index:05d}", settings, curve, state, "it broke" * (index == 7))


def plausible_sweep():
    """Return a sweep of 16 trials: finished, stopped and failed ones."""
    generator = random.Random(5)
    space = {
        "schedule.diversity_weight": {"uniform": [0, 24]},
        "schedule.growth": {"uniform": [0.2, 2]},
        "schedule.num_clusters": {"randint": [2, 12]},
        "schedule.solver": {"choice": ["merge", "threshold"]},
        "student.learning_rate": {"loguniform": [1e-6, 1e-4]},
    }
    share = {"value": 0.15, "low": 0.1, "high": 0.22}
    return SweepPage(
        name="value-function",
        sweep=SweepConfig.model_validate({"space": space}),
        trials=tuple(sweep_trial(index, generator) for index in range(16)),
        base=dict(zip(space, (12.0, 0.5, 5, "merge", 1e-5), strict=True)),
        accuracies={"untouched": dict.fromkeys(share, 0.0), "best": share},
        gain=paired_test([False] * 200, [True] * 30 + [False] * 170),
        versions={"torch": "2.13.0"},
        config_yaml="name: value-function\n",
        best_yaml="name: value-function-best\n",
    )


def sweep_with_text(swept, text):
    """Return the sweep with a given text in every place that holds text.

    Args:
        swept: a sweep.
        text: the text.
    """
    trials = [
        dataclasses.replace(
            trial,
            trial_id=text,
            error=text,
            settings={**trial.settings, "schedule.solver": text},
        )
        for trial in swept.trials[:1]
    ]
    space = {**swept.sweep.model_dump(exclude_none=True)["space"]}
    space["schedule.solver"] = {"choice": ["merge", "threshold", text]}
    return dataclasses.replace(
        swept,
        name=text,
        sweep=SweepConfig.model_validate({"space": space}),
        trials=(*trials, *swept.trials[1:]),
        versions={text: text},
        config_yaml=text,
        best_yaml=text,
    )
