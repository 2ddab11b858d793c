"""Selection of the questions whose given steps fall at a stage: the knapsack of Eq. 12 and 13.

The cost c of a question is the difficulty that its selection adds. The budget b is the difficulty that
the stage may add. Both solvers maximise F (Eq. 12) through the function G(S) = F(S) + b, which is
monotone, submodular and 0 for the empty set:

    G(S) = sum of the costs in S + beta * sum_k sqrt(|C_k & S|)

Both solvers go through the questions in a fixed order and skip every question that no longer fits. The
solvers then compare the resulting sequence with its prefixes, each extended by one other question, and
return the best. Invariants: equal input gives equal output; the selected costs sum to at most the budget
(up to rounding, 1e-9 relative); no question that wasn't selected still fits.

Why the order is known in advance: with m questions of its cluster in S, a question of cost c has the
gain c + beta * (sqrt(m + 1) - sqrt(m)). Sort a cluster by cost. The question of rank m (from 0) has the
density (gain divided by cost) 1 + beta / (c_m * (sqrt(m + 1) + sqrt(m))) when the m cheaper questions
are in S. Both factors grow with m, so the density never rises with the rank. Every order by falling
density (or by density rounded to levels) takes the questions of a cluster from the cheapest upward, and
the rank equals m. After a skipped question, no later question of the cluster fits either, because it
costs at least as much.
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
    """Return F(S) of Eq. 12 in nats: beta times the diversity of a selection, minus the unused budget.

    ``selected``, [Q] bool, is S; the costs in S may sum to more than the budget. The other arguments and
    the errors are those of `select_by_merge`; the shape of ``selected`` is checked, too.
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
    """Solve Eq. 13 by density greedy with one extension; the order merges the clusters' sorted costs.

    G of the result is at least (1 - MERGE_GRID) / 2 = 0.495 of the optimum. Proof: let O be an optimal
    selection, o its costliest question and r the largest grid value <= b - c(o). While a prefix P of the
    sequence costs <= r, every question of O fits, so the next question has at least the density of O - o
    given P, which is >= (G(O) - G(P + o)) / (b - c(o)). Let P be the longest such prefix. If G(P + o) >=
    G(O) / 2, the best extension of P is at least as good. Otherwise the density was above G(O) / 2(b -
    c(o)) up to the first prefix that costs more than r >= (1 - MERGE_GRID)(b - c(o)). If b - c(o) lies
    below the grid, either G of o alone is at least G(O) / 2, or the sequence gains G(O - o) up to the
    factor 1 - exp(1 - 1 / MERGE_GRID).

    For beta > 0 only the extension depends on beta, not the order. With beta = 0 the cheapest questions
    come first, whatever their clusters. The time is O(Q log Q) for a bounded number of clusters.

    Args:
        costs: [Q], >= 0, difficulty in nats that each question adds; Q may be 0. Ties are broken by
            cluster id (if beta > 0), then by position, the smaller first.
        cluster_ids: [Q], cluster of each question.
        budget: Delta_D, most difficulty to add, in nats; no question is selected below 0.
        diversity_weight: beta, >= 0.

    Returns:
        [Q] bool, whether each question is selected.

    Raises:
        ValueError: The shapes disagree, a cost or beta is negative, or a number is not finite.
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
    """Solve Eq. 13 by falling density thresholds (a reconstruction of the paper's solver, FTGP).

    The thresholds fall by the factor 1 - epsilon. At each threshold, the questions that fit and whose
    density reaches the threshold are taken, the cheapest first. One sort by threshold takes the place of
    the sweeps (module docstring). G of the result is at least 1/2 - epsilon of the optimum. With a small
    beta most questions share a threshold; with a large beta the order is nearly that of
    `select_by_merge`.

    ``epsilon``, above 0 and below 0.5 (else ValueError), is the accuracy: smaller is more accurate and
    slower. The other arguments, the result and the errors are those of `select_by_merge`.
    """
    _check(costs, cluster_ids, budget, diversity_weight)
    if not 0 < epsilon < 0.5:
        raise ValueError(f"epsilon is {epsilon}, expected above 0 and below 0.5")
    items = _sort_by_cluster(costs, cluster_ids, budget, diversity_weight)
    return _select(items, _threshold_order(items, epsilon), num_questions=costs.size, grid=epsilon)


@dataclass(frozen=True)
class _Items:
    """The questions whose own cost fits the budget, sorted by cluster, then cost, then position.

    An "item" is one of these questions. The budget is in nats; ``diversity_weight`` is beta.
    """

    budget: float
    diversity_weight: float
    questions: IntArray
    """[N], index of each item in the caller's arrays."""
    costs: FloatArray
    """[N], in nats."""
    roots: FloatArray
    """[N], sqrt(m + 1) + sqrt(m), where m is the item's rank in its cluster. The reciprocal is the gain
    sqrt(m + 1) - sqrt(m), but only the sum is monotone in floating point."""
    bounds: IntArray
    """[clusters + 1], position of each cluster's first item, then N."""


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
    """Return the questions that fit the budget on their own, in the order of `_Items`."""
    questions = np.flatnonzero(costs <= budget)
    ends = [questions.size]
    if diversity_weight:  # without a diversity term all questions are one cluster
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
    """Return the labels as int16 if all labels fit, because numpy sorts int16 in linear time."""
    small = labels.astype(np.int16)
    return small if (small == labels).all() else labels


def _stable_argsort(keys: FloatArray) -> IntArray:
    """Return ``np.argsort(keys, kind="stable")`` of numbers >= 0, several times faster.

    The bits of floats >= 0, read as integers, have the order of the floats. The position replaces the
    lowest bits, so one sort of integers moves keys and positions together. Keys that differ only in the
    replaced bits are then sorted exactly.
    """
    positions = np.int64((1 << keys.size.bit_length()) - 1)
    packed = (keys + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0; the sign bit of -0.0 would sort first
    packed &= ~positions
    packed |= np.arange(keys.size)
    packed.sort()
    order = packed & positions
    packed &= ~positions
    looks_equal = packed[1:] == packed[:-1]
    if looks_equal.any():
        tied = np.append(looks_equal, False)
        tied[1:] |= looks_equal
        candidates = order[tied]
        order[tied] = candidates[np.lexsort((candidates, keys[candidates]))]
    return order


def _density_order(items: _Items) -> IntArray:
    """Return the positions by falling density."""
    # cost * root = beta / (density - 1) rises as the density falls, and needs no division by 0.
    return _stable_argsort(items.costs * items.roots)


def _threshold_order(items: _Items, epsilon: float) -> IntArray:
    """Return the positions by falling threshold, then by cost."""
    order = _density_order(items)
    if not items.costs.any():
        return order
    _, values = _prefixes(items, _pack(items.costs, order, items.budget))
    # G of the optimum is at most 3.2 times the better of density greedy and the best single item.
    estimate = max(float(values[-1]), float(items.costs.max()) + items.diversity_weight)
    # A cost of 0 is replaced by 1e-200 to avoid a division by 0; the density stays the highest.
    density = 1 + items.diversity_weight / np.maximum(items.costs * items.roots, 1e-200)
    highest = min(3.2 * estimate / items.budget / epsilon, float(density.max()))
    num_thresholds = math.ceil(math.log(highest) / -math.log1p(-epsilon)) + 1
    thresholds = highest * (1 - epsilon) ** np.arange(num_thresholds)
    return np.lexsort((items.costs, np.searchsorted(-thresholds, -density)))


def _pack(costs: FloatArray, order: IntArray, budget: float) -> IntArray:
    """Return the positions taken when going through `order` and skipping items that no longer fit.

    A round takes items up to the first that doesn't fit, then drops every item that doesn't fit. The
    rest of that item's cluster costs no less, so there are at most as many rounds as clusters.
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
    """Return the cost and G of every prefix of the sequence, from the empty one: [len + 1] each."""
    spent = np.concatenate(([0.0], np.cumsum(items.costs[sequence])))
    diversity = np.concatenate(([0.0], np.cumsum(1 / items.roots[sequence])))
    return spent, spent + items.diversity_weight * diversity


def _select(items: _Items, order: IntArray, *, num_questions: int, grid: float) -> BoolArray:
    """Return the selection of a solver that takes the items in `order`, [num_questions]."""
    sequence = _pack(items.costs, order, items.budget)
    prefix, extension = _best_extension(items, sequence, grid)
    chosen = np.zeros(items.costs.size, dtype=np.bool_)
    chosen[sequence[:prefix]] = True
    if extension is not None:
        chosen[extension] = True
        # G is monotone: every item that still fits adds to the value.
        unused = items.budget - float(items.costs[chosen].sum())
        chosen[_pack(items.costs, order[~chosen[order]], unused)] = True
    selected = np.zeros(num_questions, dtype=np.bool_)
    selected[items.questions[chosen]] = True
    return selected


def _best_extension(items: _Items, sequence: IntArray, grid: float) -> tuple[int, int | None]:
    """Return the best pair (prefix length, position of the item that extends the prefix).

    The position is None if no extended prefix has a higher G than the whole sequence. The prefixes tried
    are the longest ones of cost <= b, (1 - grid) b, (1 - grid)^2 b, ... grid * b, and the empty prefix.
    From a cluster the costliest item that fits is tried, because all items of a cluster add the same
    diversity; ties go to the first item.
    """
    spent, values = _prefixes(items, sequence)
    num_limits = math.ceil(math.log(grid) / math.log1p(-grid)) + 1
    limits = items.budget * (1 - grid) ** np.arange(num_limits)
    lengths = np.unique(np.append(np.searchsorted(spent[1:], limits, side="right"), 0))
    # `times`: when the sequence takes each item; `sequence.size` for items that are never taken.
    times = np.full(items.costs.size, sequence.size)
    times[sequence] = np.arange(sequence.size)
    best: tuple[int, int | None] = (sequence.size, None)
    best_value = values[-1]
    for start, stop in itertools.pairwise(items.bounds):
        costs = items.costs[start:stop]
        # The sequence takes a cluster's items in order, so each prefix holds the first `members`.
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
