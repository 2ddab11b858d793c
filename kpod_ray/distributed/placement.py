"""Where the processes of a phase may run, and where they ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ray

from kpod_ray.config import Placement

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
