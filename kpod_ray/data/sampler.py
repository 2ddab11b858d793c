"""Order of the examples in a stage, and split of global batches among workers and micro-batches.

The order is a pure function of the seed and the stage. Invariants: a stage visits all included examples
equally often, except in an incomplete last pass; the global batches don't depend on the number of
workers; every example of a global batch belongs to exactly one worker.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def global_batches(
    indices: Sequence[int], global_batch_size: int, *, num_train_steps: int, seed: int, stage: int
) -> list[list[int]]:
    """Return the global batch of every train step of a stage.

    The examples are visited in a random order, which depends on ``seed``, ``stage`` and the order of
    ``indices``. If one pass over the examples isn't enough, passes in other random orders follow; a
    global batch across the end of a pass may hold an example several times.

    Args:
        indices: Indices of the examples included in the stage, at least one.
        global_batch_size: Examples of one train step, over all workers.
        num_train_steps: Train steps of the stage, at least 1. If one pass needs more, examples are left
            out.
        seed: Seed of the training, at least 0.
        stage: Stage, at least 0.

    Returns:
        One list of example indices for each train step, never empty; the last list may be shorter than
        ``global_batch_size``.

    Raises:
        ValueError: No example is included, or seed or stage is negative.
    """
    if not indices:
        raise ValueError(f"no example takes part in stage {stage}")
    generator = np.random.default_rng([seed, stage])
    order: list[int] = []
    while len(order) <= (num_train_steps - 1) * global_batch_size:
        order += generator.permutation(indices).tolist()
    starts = range(0, num_train_steps * global_batch_size, global_batch_size)
    return [order[start : start + global_batch_size] for start in starts]


def num_stage_train_steps(num_examples: int, global_batch_size: int) -> int:
    """Return the number of train steps of one pass over all examples, which every stage has.

    An incomplete last global batch counts as a train step. ``num_examples`` includes the training
    examples that a stage leaves out.
    """
    return -(-num_examples // global_batch_size)  # rounded up


def worker_share(indices: Sequence[int], rank: int, num_workers: int) -> list[int]:
    """Return the elements at the positions ``rank``, ``rank + num_workers``, ...; possibly none."""
    return list(indices[rank::num_workers])


def micro_batches(
    indices: Sequence[int], lengths: Sequence[int], max_tokens: int, rank: int, num_workers: int
) -> list[list[int]]:
    """Return the micro-batches of one worker's share of a global batch.

    A micro-batch holds examples of similar length, and the shares of the workers have similar numbers of
    tokens. A worker whose share is empty (``rank >= len(indices)``) gets the shortest example of the
    global batch, which rank 0 has, too, because every worker must run a forward and a backward pass (see
    `StudentTraining`). The caller must not count this pass in losses and gradients.

    Args:
        indices: Example indices of the global batch, at least one.
        lengths: Number of tokens of every example of the data set; example i has ``lengths[i]``.
        max_tokens: Most tokens of a micro-batch, padding included; a longer example is a micro-batch of
            its own.
        rank: Rank of the worker, from 0.
        num_workers: Number of workers.

    Returns:
        At least one list of example indices, none of them empty, the shortest examples first.
    """
    by_length = sorted(indices, key=lambda i: (lengths[i], i))
    share = worker_share(by_length, rank, num_workers) or by_length[:1]
    batches = batches_by_tokens([lengths[i] for i in share], max_tokens)
    return [[share[row] for row in batch] for batch in batches]


def batches_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group rows of similar length into batches of at most ``max_tokens`` tokens, padding included.

    A longer row is a batch of its own.

    Returns:
        Non-empty lists of row indices. Batches, and the rows in a batch, are in ascending order of
        length; rows of equal length are in ascending order of index.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        # The row is the longest so far: the other rows of the batch are padded to its length.
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
