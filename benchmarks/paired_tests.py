"""Rejections by tests where no method is better: ``python -m benchmarks.paired_tests``.

Two methods of equal accuracy answer 400 questions with each seed. Seeds have luck of their own (training
questions, token weighter, training), and each method is better at some questions than at others. Three
tests are made of the same answers: the crossed test, the t-test over the seeds' means, and the paired
bootstrap. The columns are the percentages of comparisons that are rejected at the levels 5 % and 5/7 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from kpod_ray.evaluation.crossed import crossed_test
from kpod_ray.evaluation.statistics import Answers, paired_bootstrap

NUM_QUESTIONS = 400
NUM_COMPARISONS = 2000
NUM_BOOTSTRAPS = 400
"""Comparisons of the bootstrap, which takes long."""
NUM_DRAWS = 2000
SETTINGS = (
    (3, 0.04, 0.3), (5, 0.0, 0.0), (5, 0.04, 0.0), (5, 0.04, 0.3), (12, 0.0, 0.3), (12, 0.04, 0.3)
)  # fmt: skip
"""Number of seeds; standard deviation of the seeds' accuracies and of the methods' by question."""
Test = Callable[[Answers, Answers], float]


def answers(
    generator: np.random.Generator, num_seeds: int, seed_sd: float, question_sd: float
) -> tuple[Answers, Answers]:
    """Return the answers, [num_seeds, NUM_QUESTIONS], of two methods that are equally good."""
    easiness = 0.2 + 0.6 * generator.random(NUM_QUESTIONS)
    of_question = generator.normal(0, question_sd, NUM_QUESTIONS)
    luck = generator.normal(0, seed_sd, (2, num_seeds, 1))
    shape = (num_seeds, NUM_QUESTIONS)
    method = generator.random(shape) < np.clip(easiness + of_question + luck[0], 0, 1)
    return method, generator.random(shape) < np.clip(easiness + luck[1], 0, 1)


def crossed(method: Answers, baseline: Answers) -> float:
    """Return the p-value of the crossed test."""
    return crossed_test(method.astype(np.float64) - baseline).p_value


def over_seeds(method: Answers, baseline: Answers) -> float:
    """Return the p-value of the t-test over the seeds' means."""
    return float(stats.ttest_rel(method.mean(axis=1), baseline.mean(axis=1)).pvalue)


def bootstrap(method: Answers, baseline: Answers) -> float:
    """Return the p-value of the paired bootstrap."""
    return paired_bootstrap(method, baseline, 0, NUM_DRAWS).p_value


def main() -> None:
    """Print a row for each of `SETTINGS`."""
    tests: dict[Test, int] = {
        crossed: NUM_COMPARISONS,
        over_seeds: NUM_COMPARISONS,
        bootstrap: NUM_BOOTSTRAPS,
    }
    for setting in SETTINGS:
        generator = np.random.default_rng(0)
        drawn = [answers(generator, *setting) for _ in range(NUM_COMPARISONS)]
        texts = []
        for test, count in tests.items():
            p_values = np.array([test(*pair) for pair in drawn[:count]])
            shares = [100 * float((p_values < level).mean()) for level in (0.05, 0.05 / 7)]
            texts.append(f"{test.__name__} {shares[0]:.1f}, {shares[1]:.1f}")
        print(*setting, *texts, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
