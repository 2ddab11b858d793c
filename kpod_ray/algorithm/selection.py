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

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
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
    clusters are of no account and the cheapest come first. O(Q log Q) for a bounded number of
    clusters.

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
    items = _sort_by_cluster(costs, cluster_ids, budget, diversity_weight)
    return _select(items, _density_order(items), num_questions=costs.size, grid=MERGE_GRID)


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
    items = _sort_by_cluster(costs, cluster_ids, budget, diversity_weight)
    return _select(items, _threshold_order(items, epsilon), num_questions=costs.size, grid=epsilon)


@dataclass(frozen=True)
class _Items:
    """The items that fit the budget on their own, by cluster, then cost, then question."""

    budget: float
    diversity_weight: float
    questions: IntArray
    """[N], index of the item in the caller's arrays."""
    costs: FloatArray
    """[N]."""
    roots: FloatArray
    """[N], sqrt(m + 1) + sqrt(m) of the item's rank m in its cluster: 1 / (sqrt(m + 1) - sqrt(m)),
    but rising with m in floating point too."""
    bounds: IntArray
    """[clusters + 1], where each cluster begins."""


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


def _sort_by_cluster(
    costs: FloatArray, cluster_ids: IntArray, budget: float, diversity_weight: float
) -> _Items:
    questions = np.flatnonzero(costs <= budget)
    ends = [questions.size]
    if diversity_weight:
        labels = _narrow(cluster_ids)[questions]
        order = np.argsort(labels, kind="stable")
        questions, labels = questions[order], labels[order]
        ends = [*(np.flatnonzero(labels[1:] != labels[:-1]) + 1).tolist(), questions.size]
    bounds = np.unique([0, *ends])
    sorted_costs = costs[questions]
    roots = np.empty_like(sorted_costs)
    for start, stop in itertools.pairwise(bounds):
        order = _stable_argsort(sorted_costs[start:stop])
        questions[start:stop] = questions[start:stop][order]
        sorted_costs[start:stop] = sorted_costs[start:stop][order]
        root = np.sqrt(np.arange(stop - start + 1, dtype=np.float64))
        np.add(root[1:], root[:-1], out=roots[start:stop])
    return _Items(budget, diversity_weight, questions, sorted_costs, roots, bounds)


def _narrow(labels: IntArray) -> npt.NDArray[np.integer]:
    """Return the labels in a small type if they fit: up to 16 bits numpy sorts in linear time."""
    small = labels.astype(np.int16)
    return small if (small == labels).all() else labels


def _stable_argsort(keys: FloatArray) -> IntArray:
    """Sort numbers >= 0 like ``np.argsort(keys, kind="stable")``, several times faster.

    The bits of such numbers are in the order of the numbers. Their lowest ones make room for the
    position, so that one plain sort of integers moves both; what looks equal then is sorted exactly.
    """
    positions = np.int64((1 << keys.size.bit_length()) - 1)
    packed = (keys + 0.0).view(np.int64)  # no negative zero
    packed &= ~positions
    packed |= np.arange(keys.size)
    packed.sort()
    order = packed & positions
    packed &= ~positions
    looks_equal = packed[1:] == packed[:-1]
    if looks_equal.any():
        tied = np.append(looks_equal, False)
        tied[1:] |= looks_equal
        some = order[tied]
        order[tied] = some[np.lexsort((some, keys[some]))]
    return order


def _density_order(items: _Items) -> IntArray:
    """Positions by falling density: `cost * root` is beta / (density - 1), without dividing."""
    return _stable_argsort(items.costs * items.roots)


def _threshold_order(items: _Items, epsilon: float) -> IntArray:
    """Positions by falling threshold, then by cost."""
    order = _density_order(items)
    if not items.costs.any():
        return order
    _, values = _prefixes(items, _pack(items.costs, order, items.budget))
    # The optimum is at most 3.2 times the better of density greedy and the best single item.
    estimate = max(float(values[-1]), float(items.costs.max()) + items.diversity_weight)
    # A cost of 0 counts as 1e-200: such items come first all the same.
    density = 1 + items.diversity_weight / np.maximum(items.costs * items.roots, 1e-200)
    highest = min(3.2 * estimate / items.budget / epsilon, float(density.max()))
    num_thresholds = math.ceil(math.log(highest) / -math.log1p(-epsilon)) + 1
    thresholds = highest * (1 - epsilon) ** np.arange(num_thresholds)
    return np.lexsort((items.costs, np.searchsorted(-thresholds, -density)))


def _pack(costs: FloatArray, order: IntArray, budget: float) -> IntArray:
    """Return the positions taken when going through `order` and skipping what no longer fits.

    Each round ends at an item that does not fit; the rest of its cluster goes with it, so there are
    at most as many rounds as clusters.
    """
    rounds = [order[:0]]
    while order.size:
        spent = np.cumsum(costs[order])
        num_taken = int(np.searchsorted(spent, budget, side="right"))
        rounds.append(order[:num_taken])
        budget -= float(spent[num_taken - 1]) if num_taken else 0.0
        order = order[num_taken:]
        order = order[costs[order] <= budget]
    return np.concatenate(rounds)


def _prefixes(items: _Items, sequence: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return cost and G of every prefix of the sequence, the empty one first: [len + 1] each."""
    spent = np.concatenate(([0.0], np.cumsum(items.costs[sequence])))
    diversity = np.concatenate(([0.0], np.cumsum(1 / items.roots[sequence])))
    return spent, spent + items.diversity_weight * diversity


def _select(items: _Items, order: IntArray, *, num_questions: int, grid: float) -> BoolArray:
    sequence = _pack(items.costs, order, items.budget)
    prefix, extension = _best_extension(items, sequence, grid)
    chosen = np.zeros(items.costs.size, dtype=np.bool_)
    chosen[sequence[:prefix]] = True
    if extension is not None:
        chosen[extension] = True
        # G is monotone: whatever still fits is worth taking.
        room = items.budget - float(items.costs[chosen].sum())
        chosen[_pack(items.costs, order[~chosen[order]], room)] = True
    selected = np.zeros(num_questions, dtype=np.bool_)
    selected[items.questions[chosen]] = True
    return selected


def _best_extension(items: _Items, sequence: IntArray, grid: float) -> tuple[int, int | None]:
    """Return the best (prefix length, position of one more item); None if the whole sequence is.

    Prefixes are the longest ones of cost <= b, (1 - grid) b, (1 - grid)^2 b, ... grid * b, and the
    empty one, whose extension is the best single item. In a cluster the best extension is the
    costliest item that fits, for all of them gain the same diversity; of equal ones the first.
    """
    spent, values = _prefixes(items, sequence)
    num_limits = math.ceil(math.log(grid) / math.log1p(-grid)) + 1
    limits = items.budget * (1 - grid) ** np.arange(num_limits)
    lengths = np.unique(np.append(np.searchsorted(spent[1:], limits, side="right"), 0))
    times = np.full(items.costs.size, sequence.size)
    times[sequence] = np.arange(sequence.size)
    best: tuple[int, int | None] = (sequence.size, None)
    best_value = values[-1]
    for start, stop in itertools.pairwise(items.bounds):
        costs = items.costs[start:stop]
        members = np.searchsorted(times[start:stop], lengths)
        fitting = np.searchsorted(costs, items.budget - spent[lengths], side="right")
        gains = costs[fitting - 1] + items.diversity_weight / (
            np.sqrt(members + 1) + np.sqrt(members)
        )
        extended = np.where(fitting > members, values[lengths] + gains, -np.inf)
        row = int(extended.argmax())
        if extended[row] > best_value:
            costliest = int(np.searchsorted(costs, costs[fitting[row] - 1]))
            position = max(costliest, int(members[row]))
            best_value, best = extended[row], (int(lengths[row]), int(start + position))
    return best
