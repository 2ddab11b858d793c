"""What is planned without Ray is what Ray then has."""

import os

import ray

from kpod_ray.cluster.capacity import Node, nodes_of_cluster
from kpod_ray.cluster.planned_nodes import PlannedNodes, local_node, planned_nodes
from kpod_ray.config import ResourcesConfig

SESSION = ResourcesConfig(local_cpus=6, object_store_gib=0.4)
"""Settings with which the session's Ray is started (`tests.conftest.ray_cluster`)."""


def of_processors(node):
    """Return a node without its address and id, and without the memory that is free at the moment."""
    changing = ("node:", "memory", "object_store_memory")
    resources = {k: v for k, v in node.resources.items() if not k.startswith(changing)}
    return Node(resources, {k: v for k, v in node.labels.items() if k != "ray.io/node-id"})


def test_the_planned_node_is_the_one_that_ray_starts(ray_cluster):
    (started,) = nodes_of_cluster()
    assert of_processors(local_node(SESSION)) == of_processors(started)


def test_a_running_ray_is_joined_and_goes_on(ray_cluster):
    assert planned_nodes(SESSION) == PlannedNodes(nodes_of_cluster(), False)
    assert ray.is_initialized()


def test_this_machine_is_planned_without_starting_ray():
    was_running = ray.is_initialized()
    assert local_node(SESSION).resources["CPU"] == 6
    assert local_node(ResourcesConfig()).resources["CPU"] == max(4, os.cpu_count())
    assert ray.is_initialized() == was_running


def test_nodes_of_a_size_are_counted():
    nodes = [Node({"CPU": 32, "GPU": 8}, {})] * 2 + [Node({"CPU": 4}, {})]
    text = "the running cluster: 2 nodes of 32 CPUs and 8 GPUs, 1 node of 4 CPUs and 0 GPUs"
    assert PlannedNodes(nodes, False).text() == text
    own = "a Ray on this machine: 1 node of 4 CPUs and 0 GPUs"
    assert PlannedNodes(nodes[2:], True).text() == own
    assert PlannedNodes([], False).text() == "the running cluster: no node"
