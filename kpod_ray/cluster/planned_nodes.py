"""The nodes that a run would have, without starting Ray: those of a cluster, or this machine alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from kpod_ray.cluster.capacity import Node, listed, nodes_of_cluster
from kpod_ray.cluster.connection import is_started_here, joined, num_local_cpus
from kpod_ray.config import ResourcesConfig


@dataclasses.dataclass(frozen=True)
class PlannedNodes:
    """The nodes on which a run would run."""

    nodes: Sequence[Node]
    is_started_here: bool
    """Whether the run would start a Ray on this machine; else it would join a cluster."""

    def text(self) -> str:
        """Return what the nodes are, with the number and the size of each kind of node."""
        place = "a Ray on this machine" if self.is_started_here else "the running cluster"
        sizes = Counter(listed(_size(node)) for node in self.nodes)
        kinds = [f"{n} node{'' if n == 1 else 's'} of {size}" for size, n in sizes.items()]
        return f"{place}: {', '.join(kinds) or 'no node'}"


def planned_nodes(resources: ResourcesConfig) -> PlannedNodes:
    """Return the nodes on which `connect` would let a run work.

    A running cluster is joined for a moment. Without a cluster no Ray is started: the node is this
    machine, with the resources that Ray would find here.

    Raises:
        KpodError: The cluster of RAY_ADDRESS or of ``ray start`` doesn't answer or refuses the
            connection.
    """
    if not is_started_here():
        with joined(resources):
            return PlannedNodes(nodes_of_cluster(), False)
    return PlannedNodes([local_node(resources)], True)


def local_node(resources: ResourcesConfig) -> Node:
    """Return the node of a Ray that `connect` would start on this machine, as Ray itself finds it.

    ``local_cpus`` and ``object_store_gib`` are used. Ray isn't started.
    """
    spec = ResourceAndLabelSpec(
        num_cpus=num_local_cpus(resources),
        object_store_memory=int(resources.object_store_gib * 2**30),
    )
    found = spec.resolve(is_head=True, node_ip_address="127.0.0.1")
    return Node(found.to_resource_dict(), found.labels)


def _size(node: Node) -> dict[str, float]:
    """Return the CPUs and GPUs of a node."""
    return {name: node.resources.get(name, 0) for name in ("CPU", "GPU")}
