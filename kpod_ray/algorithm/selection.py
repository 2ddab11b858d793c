"""Which questions get harder when a stage begins: the knapsack of KPOD, Eq. 12 and 13.

A question's cost c is the difficulty its next move adds; the budget b is the growth one stage
allows. Both solvers maximise F (Eq. 12) by way of G(S) = F(S) + b, which is monotone, submodular
and 0 for the empty set:

    G(S) = sum of the costs in S + beta * sum_k sqrt(|C_k & S|)

Both take the items in a fixed order, skip those that no longer fit, and then try whether a prefix
of that sequence plus one other item is worth more. Invariants: equal input gives equal output; the
result costs at most the budget (up to the rounding of the sum, 1e-9 relative); nothing that was
left out still fits.

Why the order is fixed in advance. G(u|S) = c(u) + beta * (sqrt(m + 1) - sqrt(m)) with m members of
u's cluster in S. Within a cluster, sorted by cost, the item of rank m (from 0) has density

    1 + beta / (c_m * (sqrt(m + 1) + sqrt(m)))

when the m cheaper ones are in S. Both factors below beta grow with m, so the density never rises
with the rank: any order by falling density (or by density rounded to levels) takes each cluster
from its cheapest item upward, and the ranks are exact. Skipping keeps this true: what comes later
in the cluster costs no less than what did not fit, so it does not fit either.
"""

from __future__ import annotations

import math

import numpy as np

from kpod_ray.algorithm.packing import (
    BoolArray,
    FloatArray,
    IntArray,
    Items,
    group_items,
    pack,
    prefix_values,
    select_items,
)

MERGE_GRID = 0.01
"""Relative distance of the prefix costs at which `select_by_merge` tries an extension."""


def value(
    selected: BoolArray,
    costs: FloatArray,
    cluster_ids: IntArray,
    *,
    budget: float,
    diversity_weight: float,
) -> float:
    """Return F(S) of Eq. 12: minus the unused budget, plus the diversity of the selection.

    Args:
        selected: [Q], which questions are in S.
        costs: [Q], difficulty each question would add, in nats.
        cluster_ids: [Q], cluster of each question.
        budget: Delta_D, growth of difficulty that the stage allows, in nats.
        diversity_weight: beta.

    Raises:
        ValueError: The shapes disagree, or a number is negative or not finite.
    """
    _check(costs, cluster_ids, budget, diversity_weight)
    if selected.shape != costs.shape:
        raise ValueError(f"selected has shape {selected.shape}, costs {costs.shape}")
    _, members = np.unique(cluster_ids[selected], return_counts=True)
    diversity = float(np.sqrt(members).sum())
    return float(costs[selected].sum()) - budget + diversity_weight * diversity


def select_by_merge(
    costs: FloatArray, cluster_ids: IntArray, *, budget: float, diversity_weight: float
) -> BoolArray:
    """Solve Eq. 13 by density greedy, a merge of the clusters' sorted costs, with one extension.

    G of the result is at least (1 - MERGE_GRID) / 2 = 0.495 of the optimum. Proof: let o be the
    costliest item of the optimum O and r the largest grid value <= b - c(o). As long as a prefix Q
    of the sequence costs <= r, all of O fits, so the next item has at least the density of O - o
    given Q, which is >= (G(O) - G(Q + o)) / (b - c(o)). Take the longest such Q: if G(Q + o) >=
    G(O) / 2, its best extension is as good; if not, the density was above G(O) / 2(b - c(o)) all
    the way to the first prefix that costs more than r >= (1 - MERGE_GRID)(b - c(o)), which is in
    the sequence. If b - c(o) lies below the grid, O - o costs almost nothing: o alone is worth
    G(O) / 2, or the sequence gains all of G(O - o) but exp(1 - 1 / MERGE_GRID).

    The order of falling density does not depend on beta > 0: only the extension does. With beta = 0
    clusters are of no account and the cheapest come first. O(Q + M log M) for M items that the budget
    could pay for (see `packing`).

    Args:
        costs: [Q], >= 0, difficulty each question would add, in nats. Equal ones are taken by
            cluster, then in the order given.
        cluster_ids: [Q], cluster of each question.
        budget: Delta_D, most difficulty to add, in nats; below 0 nothing is selected.
        diversity_weight: beta.

    Returns:
        [Q], which questions get harder.

    Raises:
        ValueError: The shapes disagree, or a number is negative or not finite.
    """
    _check(costs, cluster_ids, budget, diversity_weight)
    items = group_items(costs, cluster_ids, budget, diversity_weight)
    return select_items(items, _density_order(items), MERGE_GRID)


def select_by_thresholds(
    costs: FloatArray,
    cluster_ids: IntArray,
    *,
    budget: float,
    diversity_weight: float,
    epsilon: float,
) -> BoolArray:
    """Solve Eq. 13 by falling density thresholds, a reconstruction in the spirit of FTGP.

    Thresholds fall by the factor 1 - epsilon; at each, every item that fits and whose density
    reaches the threshold is taken, the cheapest first. The threshold at which an item comes up is
    known beforehand (module docstring), so the sweeps are one sort by threshold. They go on until
    nothing fits. G of the result is at least 1/2 - epsilon of the optimum.

    Here beta does count: densities are near 1 for a small beta, so most items share a threshold and
    the cheapest come first; with a large beta the order nears that of `select_by_merge`.

    Args:
        costs: [Q], >= 0, difficulty each question would add, in nats.
        cluster_ids: [Q], cluster of each question.
        budget: Delta_D, most difficulty to add, in nats; below 0 nothing is selected.
        diversity_weight: beta.
        epsilon: Accuracy, above 0 and below 0.5.

    Returns:
        [Q], which questions get harder.

    Raises:
        ValueError: The shapes disagree, or a number is out of its range.
    """
    _check(costs, cluster_ids, budget, diversity_weight)
    if not 0 < epsilon < 0.5:
        raise ValueError(f"epsilon is {epsilon}, expected above 0 and below 0.5")
    items = group_items(costs, cluster_ids, budget, diversity_weight)
    return select_items(items, _threshold_order(items, epsilon), epsilon)


def _check(
    costs: FloatArray, cluster_ids: IntArray, budget: float, diversity_weight: float
) -> None:
    if costs.ndim != 1 or costs.shape != cluster_ids.shape:
        raise ValueError(f"costs has shape {costs.shape}, cluster_ids {cluster_ids.shape}")
    if not np.isfinite(costs).all() or (costs < 0).any():
        raise ValueError("costs must be finite and not negative")
    if not math.isfinite(budget):
        raise ValueError(f"budget is {budget}, expected a finite number")
    if not (math.isfinite(diversity_weight) and diversity_weight >= 0):
        raise ValueError(f"diversity_weight is {diversity_weight}, expected a number >= 0")


def _density_order(items: Items) -> IntArray:
    """Positions by falling density: `cost * root` is beta / (density - 1), without dividing."""
    return np.argsort(items.costs * items.roots, kind="stable")


def _threshold_order(items: Items, epsilon: float) -> IntArray:
    """Positions by falling threshold, then by cost."""
    order = _density_order(items)
    if not items.costs.any():
        return order
    _, values = prefix_values(items, pack(items.costs, order, items.budget))
    # The optimum is at most 3.2 times the better of density greedy and the best single item.
    estimate = max(float(values[-1]), float(items.largest.max()) + items.diversity_weight)
    # A cost of 0 counts as 1e-200: such items come first all the same.
    density = 1 + items.diversity_weight / np.maximum(items.costs * items.roots, 1e-200)
    highest = min(3.2 * estimate / items.budget / epsilon, float(density.max()))
    num_thresholds = math.ceil(math.log(highest) / -math.log1p(-epsilon)) + 1
    thresholds = highest * (1 - epsilon) ** np.arange(num_thresholds)
    return np.lexsort((items.costs, np.searchsorted(-thresholds, -density)))
