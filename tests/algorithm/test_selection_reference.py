"""The solvers against loops over an oracle, as the papers write them."""

import math

import numpy as np
import pytest

from kpod_ray.algorithm.selection import select_by_merge, select_by_thresholds
from tests.algorithm.test_selection import normalised_value


def greedy_sequence(gain, costs, room):
    """Density greedy on an oracle, over what still fits."""
    chosen = []
    while True:
        fitting = [
            u
            for u in range(len(costs))
            if u not in chosen and sum(costs[v] for v in [*chosen, u]) <= room
        ]
        if not fitting:
            return chosen
        chosen.append(max(fitting, key=lambda u: gain(chosen, u) / costs[u]))


def threshold_sequence(gain, costs, room, budget, epsilon):
    """Falling thresholds on an oracle, cheapest item first."""
    greedy = greedy_sequence(gain, costs, budget)
    greedy_value = sum(gain(greedy[:i], u) for i, u in enumerate(greedy))
    estimate = max([greedy_value] + [gain([], u) for u in range(len(costs))])
    threshold = min(
        3.2 * estimate / (epsilon * budget), max(gain([], u) / c for u, c in enumerate(costs))
    )
    chosen = []
    while threshold > 1 - epsilon:
        for u in np.argsort(costs).tolist():
            fits = sum(costs[v] for v in [*chosen, u]) <= room
            if u not in chosen and fits and gain(chosen, u) >= threshold * costs[u] * (1 - 1e-12):
                chosen.append(u)
        threshold *= 1 - epsilon
    return chosen


def extend_best_prefix(gain, costs, budget, grid, sequence, order):
    """Best prefix and single item on the grid of costs, then what still fits in `order`."""

    def cost(chosen):
        return sum(costs[u] for u in chosen)

    def worth(chosen):
        return sum(gain(chosen[:i], u) for i, u in enumerate(chosen))

    limits = [budget * (1 - grid) ** i for i in range(math.ceil(math.log(grid, 1 - grid)) + 1)]
    candidates = [sequence]
    for limit in [*limits, 0]:
        prefix = max(
            (sequence[:i] for i in range(len(sequence) + 1) if cost(sequence[:i]) <= limit), key=len
        )
        candidates += [
            [*prefix, u]
            for u in range(len(costs))
            if u not in prefix and cost([*prefix, u]) <= budget
        ]
    chosen = list(max(candidates, key=worth))
    for u in order:
        if u not in chosen and cost([*chosen, u]) <= budget:
            chosen.append(u)
    return sorted(chosen)


@pytest.mark.parametrize("solver_name", ["merge", "thresholds"])
@pytest.mark.parametrize("seed", range(25))
def test_sorting_once_equals_the_loop_over_an_oracle(seed, solver_name):
    rng = np.random.default_rng(seed)
    num_questions = int(rng.integers(1, 13))
    costs = rng.lognormal(0, rng.choice([1, 2]), num_questions)
    cluster_ids = rng.integers(0, 3, num_questions)
    budget, beta = float(costs.max() * rng.uniform(1, 2)), float(rng.choice([0.3, 2, 12]))

    def gain(chosen, u):
        after = normalised_value([*chosen, u], costs, cluster_ids, beta)
        return after - normalised_value(chosen, costs, cluster_ids, beta)

    if solver_name == "merge":
        sequence, order = (greedy_sequence(gain, costs, room) for room in (budget, math.inf))
        expected = extend_best_prefix(gain, costs, budget, 0.01, sequence, order)
        selected = select_by_merge(costs, cluster_ids, budget=budget, diversity_weight=beta)
    else:
        sequence, order = (
            threshold_sequence(gain, costs, room, budget, 0.2) for room in (budget, math.inf)
        )
        expected = extend_best_prefix(gain, costs, budget, 0.2, sequence, order)
        selected = select_by_thresholds(
            costs, cluster_ids, budget=budget, diversity_weight=beta, epsilon=0.2
        )
    assert np.flatnonzero(selected).tolist() == expected
