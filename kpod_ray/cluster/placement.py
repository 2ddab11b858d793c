"""Placement of a phase's processes: node labels, node ids, CPU threads and environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from kpod_ray.config import (
    ActorResources,
    Placement,
    WorkerResources,
)

CPU_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:"
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4294967296"
}
"""Environment variables of a process that trains on a CPU.

With these settings, glibc's malloc merges a freed block with its free neighbours at once and keeps freed
memory in the process, so that later batches with activations of other sizes can use the memory.
"""
_RAY_LABEL_PREFIX = "ray.io/"
"""Prefix of the labels that Ray itself gives to every node."""


def options(placement: Placement) -> dict[str, Any]:
    """Return the placement options of an actor or worker, as Ray Data and Ray Train take them.

    The keys are ``accelerator_type`` and ``label_selector``; a value of None sets no condition.
    """
    return {
        "accelerator_type": placement.accelerator_type,
        "label_selector": dict(placement.labels) or None,
    }


def actor_options(
    resources: ActorResources, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return all options of one actor, as Ray and Ray Data take them: resources, place and threads.

    The keys are ``num_cpus``, ``num_gpus`` (None for no GPU), ``runtime_env`` and those of `options`.
    ``environment`` holds further environment variables of the actor's process, which may replace
    ``OMP_NUM_THREADS`` (see `threads_of`).
    """
    threads = {"OMP_NUM_THREADS": str(threads_of(resources))}
    return {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus or None,
        "runtime_env": {"env_vars": threads | dict(environment or {})},
        **options(resources),
    }


def num_processes(resources: ActorResources | WorkerResources) -> int:
    """Return the number of actors (``num_actors``) or workers (``num_workers``) of a phase."""
    if isinstance(resources, ActorResources):
        return resources.num_actors
    return resources.num_workers


def threads_of(resources: ActorResources | WorkerResources) -> int:
    """Return the number of CPU threads of one process of a phase.

    The number is ``resources.num_threads``; if that is None, the number of cores of this machine (not of
    the process's node) divided by the number of processes, rounded down, at least 1.
    """
    if resources.num_threads is not None:
        return resources.num_threads
    return max(1, (os.cpu_count() or 1) // num_processes(resources))


def own_node() -> str:
    """Return the Ray node id of the node that this process runs on; Ray must be connected."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def given_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a node without the labels that Ray itself sets."""
    return {key: value for key, value in labels.items() if not key.startswith(_RAY_LABEL_PREFIX)}


def described(nodes: Iterable[str]) -> list[dict[str, Any]]:
    """Return the description of nodes, given by Ray node id, that a manifest records.

    Each node is described once, sorted by id, by a mapping with ``id`` and ``labels`` (without those
    that Ray itself sets; none for a node that Ray no longer knows). Ray must be connected.
    """
    labels = {node["NodeID"]: node["Labels"] for node in ray.nodes()}
    return [
        {"id": node, "labels": given_labels(labels.get(node, {}))} for node in sorted(set(nodes))
    ]
