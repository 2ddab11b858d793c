"""Where the processes of a phase may run, and where they ran."""

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

_RAYS_OWN = "ray.io/"
"""Starts the labels that Ray gives to a node."""


def options(placement: Placement) -> dict[str, Any]:
    """Return the options of Ray Data and Ray Train that place a process."""
    return {
        "accelerator_type": placement.accelerator_type,
        "label_selector": dict(placement.labels) or None,
    }


def own_node() -> str:
    """Return the id of the node that this process is on."""
    node: str = ray.get_runtime_context().get_node_id()
    return node


def given_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that whoever made the cluster gave to a node."""
    return {key: value for key, value in labels.items() if not key.startswith(_RAYS_OWN)}


def described(nodes: Iterable[str]) -> list[dict[str, Any]]:
    """Return what a manifest says of nodes: their ids, and the labels that were given to them."""
    labels = {node["NodeID"]: node["Labels"] for node in ray.nodes()}
    return [
        {"id": node, "labels": given_labels(labels.get(node, {}))} for node in sorted(set(nodes))
    ]


def threads_of(resources: ActorResources | WorkerResources) -> int:
    """Return the CPU threads of one process: what is set, or its share of this machine's cores."""
    if resources.num_threads is not None:
        return resources.num_threads
    return max(1, (os.cpu_count() or 1) // num_processes(resources))


def num_processes(resources: ActorResources | WorkerResources) -> int:
    """Return how many actors or workers a phase has."""
    if isinstance(resources, ActorResources):
        return resources.num_actors
    return resources.num_workers


CPU_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:"
    "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4294967296"
}
"""Of a process that trains on a CPU: freed memory joins its neighbours, so that the activations of a
batch of another length fit in, and is kept for them."""
