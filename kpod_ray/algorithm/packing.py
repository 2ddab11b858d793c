"""Filling the budget of a selection from a fixed order of its items: what both solvers do.

Only items that the budget could pay for are sorted. In a cluster every order takes the cheapest first
(see `selection`), so an item can come up only if the cheapest of its cluster, together with it, cost
at most the budget. What is left, mostly the larger part, is looked at again only where it may be the
one item that extends a prefix.
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

SMALL = 64
"""Items of a cluster that are sorted without asking which of them the budget could pay for."""


@dataclass(frozen=True)
class Items:
    """The items of a selection that fit the budget on their own, by cluster.

    The payable ones, N, are by cluster, then cost, then question; a position is an index among them.
    """

    num_questions: int
    budget: float
    diversity_weight: float
    fitting: IntArray
    """[M], questions that fit, by cluster, then question."""
    fitting_costs: FloatArray
    """[M]."""
    fitting_bounds: IntArray
    """[clusters + 1], where each cluster begins among them."""
    largest: FloatArray
    """[clusters], cost of the costliest item that fits."""
    questions: IntArray
    """[N], question of each payable item."""
    costs: FloatArray
    """[N]."""
    bounds: IntArray
    """[clusters + 1], where each cluster begins among them."""
    roots: FloatArray
    """[N], sqrt(m + 1) + sqrt(m) of the item's rank m in its cluster: 1 / (sqrt(m + 1) - sqrt(m)),
    but rising with m in floating point too."""


def group_items(
    costs: FloatArray, cluster_ids: IntArray, budget: float, diversity_weight: float
) -> Items:
    """Sort the payable items of every cluster; without diversity all are one cluster.

    Args:
        costs: [Q], >= 0.
        cluster_ids: [Q].
        budget: most to spend.
        diversity_weight: beta.
    """
    fitting = np.flatnonzero(costs <= budget)
    fitting_bounds = np.array([0, fitting.size] if fitting.size else [0])
    if diversity_weight:
        labels = cluster_ids[fitting]
        order = np.argsort(_narrow(labels), kind="stable")
        fitting, labels = fitting[order], labels[order]
        starts = np.flatnonzero(np.diff(labels, prepend=labels[:1] - 1))
        fitting_bounds = np.append(starts, fitting.size)
    fitting_costs = costs[fitting]
    slices = [slice(start, stop) for start, stop in itertools.pairwise(fitting_bounds)]
    payable = [fitting[:0]]
    for part in slices:
        kept = np.flatnonzero(fitting_costs[part] <= _payable_cost(fitting_costs[part], budget))
        order = np.argsort(fitting_costs[part][kept], kind="stable")
        payable.append(fitting[part][kept[order]])
    questions = np.concatenate(payable)
    bounds = np.cumsum([part.size for part in payable])
    ranks = np.arange(questions.size) - np.repeat(bounds[:-1], np.diff(bounds))
    return Items(
        num_questions=costs.size,
        budget=budget,
        diversity_weight=diversity_weight,
        fitting=fitting,
        fitting_costs=fitting_costs,
        fitting_bounds=fitting_bounds,
        largest=np.array([fitting_costs[part].max() for part in slices]),
        questions=questions,
        costs=costs[questions],
        bounds=bounds,
        roots=np.sqrt(ranks + 1) + np.sqrt(ranks),
    )


def _narrow(labels: IntArray) -> npt.NDArray[np.integer]:
    """Return the labels in a small type where they fit: numpy sorts up to 16 bits in O(N)."""
    small = labels.astype(np.int16)
    return small if (small == labels).all() else labels


def _payable_cost(costs: FloatArray, budget: float) -> float:
    """Return a cost such that all that is costlier comes after more than the budget, in O(N)."""
    while costs.size > SMALL:
        cheaper = np.partition(costs, costs.size // 2)[: costs.size // 2]
        if cheaper.sum() <= budget:
            break
        costs = cheaper
    return float(costs.max())


def pack(costs: FloatArray, order: IntArray, budget: float) -> IntArray:
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


def prefix_values(items: Items, sequence: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return cost and G of every prefix of the sequence, the empty one first: [len + 1] each."""
    spent = np.concatenate(([0.0], np.cumsum(items.costs[sequence])))
    diversity = np.concatenate(([0.0], np.cumsum(1 / items.roots[sequence])))
    return spent, spent + items.diversity_weight * diversity


def select_items(items: Items, order: IntArray, grid: float) -> BoolArray:
    """Return which questions to take, [Q]: a packed order, or a prefix of it with another item.

    Args:
        items: of the selection.
        order: [N], positions; each cluster's in the order of their costs.
        grid: relative distance of the costs of the prefixes that are tried.
    """
    sequence = pack(items.costs, order, items.budget)
    prefix, extension = _best_extension(items, sequence, grid)
    selected = np.zeros(items.num_questions, dtype=np.bool_)
    selected[items.questions[sequence[:prefix]]] = True
    if extension is not None:
        selected[items.fitting[extension]] = True
        # G is monotone: whatever still fits is worth taking.
        spent = float(items.costs[sequence[:prefix]].sum()) + float(items.fitting_costs[extension])
        left = order[~selected[items.questions[order]]]
        more = pack(items.costs, left, items.budget - spent)
        selected[items.questions[more]] = True
    return selected


def _best_extension(items: Items, sequence: IntArray, grid: float) -> tuple[int, int | None]:
    """Return the best (prefix length, one more item of `fitting`); None if the sequence is.

    Prefixes are the longest ones of cost <= b, (1 - grid) b, (1 - grid)^2 b, ... grid * b, and the
    empty one, whose extension is the best single item. In a cluster the best extension is the
    costliest item that fits, for all of them gain the same diversity; of equal ones the first.
    """
    spent, values = prefix_values(items, sequence)
    num_limits = math.ceil(math.log(grid) / math.log1p(-grid)) + 1
    limits = items.budget * (1 - grid) ** np.arange(num_limits)
    lengths = np.unique(np.append(np.searchsorted(spent[1:], limits, side="right"), 0))
    rooms = items.budget - spent[lengths]
    times = np.full(items.costs.size, sequence.size)
    times[sequence] = np.arange(sequence.size)
    best: tuple[int, int | None] = (sequence.size, None)
    best_value = values[-1]
    for cluster, (start, stop) in enumerate(itertools.pairwise(items.bounds)):
        members = np.searchsorted(times[start:stop], lengths)
        worth = values[lengths] + items.diversity_weight / (np.sqrt(members + 1) + np.sqrt(members))
        # Only where something fits, and the costliest item of all would be an improvement.
        cheapest = np.append(items.costs[start:stop], 0.0)[members]
        is_better = worth + np.minimum(rooms, items.largest[cluster]) > best_value
        rows = np.flatnonzero(is_better & (cheapest <= rooms))
        if not rows.size:
            continue
        added = _costliest_fitting(items, cluster, rooms[rows], members[rows])
        winner = int((worth[rows] + added).argmax())
        row, cost = rows[winner], float(added[winner])
        if worth[row] + cost > best_value:
            best_value = worth[row] + cost
            best = int(lengths[row]), _position_of(items, cluster, cost, int(members[row]))
    return best


def _costliest_fitting(
    items: Items, cluster: int, rooms: FloatArray, members: IntArray
) -> FloatArray:
    """Return the highest cost of a cluster in each room, minus infinity if none is left for it.

    The cheapest `members` of the cluster are taken already.
    """
    start, stop = items.fitting_bounds[cluster : cluster + 2]
    costs = np.sort(items.fitting_costs[start:stop])
    num_fitting = np.searchsorted(costs, rooms, side="right")
    return np.where(num_fitting > members, costs[num_fitting - 1], -np.inf)


def _position_of(items: Items, cluster: int, cost: float, members: int) -> int:
    """Return the first item of `fitting` with that cost after the cluster's cheapest `members`."""
    start, stop = items.fitting_bounds[cluster : cluster + 2]
    costs = items.fitting_costs[start:stop]
    num_equal_taken = max(0, members - int((costs < cost).sum()))
    return int(start + np.flatnonzero(costs == cost)[num_equal_taken])
