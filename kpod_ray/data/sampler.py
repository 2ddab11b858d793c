"""Order and split of examples: pure functions of (seed, stage), the same for any workers.

Invariants: a stage visits the examples that take part equally often, but for its last pass; the
global batches don't depend on the number of workers; the workers' parts of a global batch are disjoint
and complete.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def global_batches(
    indices: Sequence[int], global_batch_size: int, *, num_train_steps: int, seed: int, stage: int
) -> list[list[int]]:
    """Return the example indices of every train step of a stage; the last may be short.

    The examples come in a random order. When they are through before the train steps are, they come
    again in a new one.

    Args:
        indices: examples that take part, at least one.
        global_batch_size: examples of one train step.
        num_train_steps: train steps of the stage.
        seed: of the run.
        stage: t.

    Raises:
        ValueError: No example takes part.
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
    """Return the train steps of a stage, whatever part of the examples takes part in it."""
    return -(-num_examples // global_batch_size)


def worker_share(indices: Sequence[int], rank: int, num_workers: int) -> list[int]:
    """Return a worker's part of a global batch; it may be empty."""
    return list(indices[rank::num_workers])


def micro_batches(
    indices: Sequence[int], lengths: Sequence[int], max_tokens: int, rank: int, num_workers: int
) -> list[list[int]]:
    """Cut a worker's part of a global batch into micro-batches of examples of similar length.

    The parts are about equally long, and every example of the global batch is in one of them. A
    worker without examples computes another's, see `StudentTraining`.

    Args:
        indices: examples of the global batch.
        lengths: tokens of every example there is.
        max_tokens: of a micro-batch, padding counted; a longer example is one of its own.
        rank: which worker.
        num_workers: how many there are.
    """
    by_length = sorted(indices, key=lambda i: (lengths[i], i))
    mine = worker_share(by_length, rank, num_workers) or by_length[:1]
    rows = batches_by_tokens([lengths[i] for i in mine], max_tokens)
    return [[mine[row] for row in batch] for batch in rows]


def batches_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut rows into batches that hold at most so many tokens, padding counted.

    Rows of similar length come together. A row that is longer than that is a batch of its own.

    Returns:
        The indices of each batch's rows.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[row] <= max_tokens:
            batches[-1].append(row)  # the longest so far: all others are padded to it
        else:
            batches.append([row])
    return batches
