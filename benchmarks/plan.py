"""Measure speed and quality of schedule planning: ``python -m benchmarks.plan``.

Speed: each solver plans 20 stages for 100,000 and for 1,000,000 questions with 1 to 11 steps, lognormal
difficulties and five clusters. Quality: the value G of a solver's selection (F of Eq. 12 plus the
budget) divided by that of exact density greedy, which also tries every prefix of its picks with every
other item; on selections from 7,473 questions and on small random problems.

For each solver, the benchmark prints wall seconds and processor seconds of planning, the growth of the
processor seconds from 100,000 to 1,000,000 questions, and the smallest ratios of values. (Processor
seconds depend less on other load of the machine.) Then it prints the peak memory. The last line is one
JSON object.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import resource
import statistics
import time

import numpy as np
import numpy.typing as npt

from kpod_ray.algorithm.schedule import ScheduleSettings, Solver, plan_stages
from kpod_ray.algorithm.selection import select_by_merge, select_by_thresholds, value
from kpod_ray.config import ScheduleConfig

REPEATS = 5
NUM_PROBLEMS = 200
CONFIG = ScheduleConfig(num_stages=20, full_stage=20)
SOLVERS: dict[str, functools.partial[npt.NDArray[np.bool_]]] = {
    "merge": functools.partial(select_by_merge),
    "threshold": functools.partial(select_by_thresholds, epsilon=CONFIG.epsilon),
}

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def plan_seconds(num_questions: int, solver: Solver) -> tuple[list[float], list[float]]:
    """Plan a number of questions `REPEATS` times; return the sorted wall and processor seconds."""
    generator = np.random.default_rng(0)
    num_steps = generator.integers(1, 12, num_questions)
    difficulties = generator.lognormal(-0.4, 0.6, int(num_steps.sum()))
    clusters = generator.integers(0, CONFIG.num_clusters, num_questions)
    settings = ScheduleSettings(
        num_stages=CONFIG.num_stages,
        full_stage=CONFIG.resolved_full_stage,
        growth=CONFIG.growth,
        initial_fraction=CONFIG.initial_fraction,
        step_size=CONFIG.step_size,
        solver=solver,
    )
    wall, processor = [], []
    for _ in range(REPEATS):
        started, busy = time.perf_counter(), time.process_time()
        plan_stages(difficulties, num_steps, clusters, settings)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - busy)
    return sorted(wall), sorted(processor)


def exact_greedy_value(
    costs: FloatArray, clusters: IntArray, budget: float, diversity_weight: float
) -> float:
    """Return the value G of exact density greedy: the best of all prefixes of its picks plus one item.

    Each pick takes O(N).

    Args:
        costs: difficulty of each item, `[N]`.
        clusters: cluster of each item, `[N]`.
        budget: largest sum of costs.
        diversity_weight: weight beta of the diversity term.
    """
    members = np.zeros(int(clusters.max()) + 1, dtype=np.int64)
    is_left = np.ones(costs.size, dtype=np.bool_)
    spent, worth, best = 0.0, 0.0, 0.0
    while True:
        gains = diversity_weight * (np.sqrt(members + 1) - np.sqrt(members))[clusters]
        fits = is_left & (costs <= budget - spent)
        if not fits.any():
            return best
        best = max(best, worth + float((costs + gains)[fits].max()))
        density = np.where(fits, gains / np.maximum(costs, 1e-300), -1.0)
        ties = np.flatnonzero(density == density.max())
        pick = int(ties[costs[ties].argmin()])
        spent, worth = spent + costs[pick], worth + costs[pick] + gains[pick]
        best = max(best, worth)
        is_left[pick] = False
        members[clusters[pick]] += 1


def value_ratio(
    name: str, costs: FloatArray, clusters: IntArray, budget: float, diversity_weight: float
) -> float:
    """Return the value G of a solver's selection divided by that of exact greedy.

    Args:
        name: key of `SOLVERS`.
        costs: difficulty of each item, `[N]`.
        clusters: cluster of each item, `[N]`.
        budget: largest sum of costs.
        diversity_weight: weight beta of the diversity term.
    """
    limits = {"budget": budget, "diversity_weight": diversity_weight}
    selected = SOLVERS[name](costs, clusters, **limits)
    ours = value(selected, costs, clusters, **limits) + budget
    exact = exact_greedy_value(costs, clusters, budget, diversity_weight)
    return ours / exact if exact else 1.0


def realistic_ratios(name: str) -> list[float]:
    """Return the value ratios for three budgets over 7,473 items, the size of GSM8K."""
    generator = np.random.default_rng(1)
    costs = generator.lognormal(-0.4, 0.6, 7473)
    clusters = generator.choice(5, 7473, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    budgets = [share * float(costs.sum()) for share in (0.03, 0.1, 0.3)]
    weight = CONFIG.diversity_weight
    return [value_ratio(name, costs, clusters, budget, weight) for budget in budgets]


def random_ratios(name: str) -> list[float]:
    """Return the value ratios of random problems with 2 to 59 items, 1 to 6 clusters, any budget."""
    generator = np.random.default_rng(2)
    ratios = []
    for _ in range(NUM_PROBLEMS):
        size = int(generator.integers(2, 60))
        costs = generator.lognormal(0, generator.choice([0.3, 1, 2]), size)
        clusters = generator.integers(0, generator.integers(1, 7), size)
        budget = float(costs.sum() * generator.uniform(0.02, 0.9))
        weight = float(generator.choice([0.0, 0.1, 1.0, 12.0]))
        ratios.append(value_ratio(name, costs, clusters, budget, weight))
    return ratios


def measure(name: str) -> dict[str, float]:
    """Return the figures of one solver by name of the figure; seconds are medians of `REPEATS`."""
    solver = functools.partial(SOLVERS[name], diversity_weight=CONFIG.diversity_weight)
    figures = {}
    processor = {}
    for label, num_questions in {"100k": 100_000, "1m": 1_000_000}.items():
        wall, processor[label] = plan_seconds(num_questions, solver)
        figures[f"seconds_{label}"] = statistics.median(wall)
        figures[f"seconds_{label}_low"], figures[f"seconds_{label}_high"] = wall[0], wall[-1]
        figures[f"processor_seconds_{label}"] = statistics.median(processor[label])
    figures["growth"] = statistics.median(processor["1m"]) / statistics.median(processor["100k"])
    figures["growth_of_fastest"] = processor["1m"][0] / processor["100k"][0]
    figures["ratio_value_realistic"] = min(realistic_ratios(name))
    ratios = random_ratios(name)
    figures["ratio_value_random_worst"] = min(ratios)
    figures["ratio_value_random_median"] = statistics.median(ratios)
    return {key: round(figure, 4) for key, figure in figures.items()}


def main() -> None:
    """Run the benchmark and print its figures."""
    figures = {}
    for name in SOLVERS:
        for key, figure in measure(name).items():
            figures[f"{name}_{key}"] = figure
            print(f"{name} {key}: {figure}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures["peak_gib"] = round(peak, 2)
    print(f"peak_gib: {figures['peak_gib']}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "plan", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
