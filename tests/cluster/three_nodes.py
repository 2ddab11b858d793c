"""Program: remove one of three nodes of a cluster while rows are generated on all nodes.

Writes to ``found.json`` whether every row was written once with the right text, and on how many nodes
actors ran. The program needs a process of its own, because a process can connect to one Ray only.
"""

import functools
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from kpod_ray.cluster.connection import connect
from kpod_ray.cluster.placement import own_node
from kpod_ray.cluster.tasks import run_tasks
from kpod_ray.config import ActorResources, ResourcesConfig
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.generate import generate
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.requests import Pending
from kpod_ray.inference.service import ServicePool
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from tests.inference.scripted import Scripted, marked

ROWS = 300


class Placed(Scripted):
    """A `Scripted` service that also creates a file with the id of its node in the name."""

    def __init__(self, marks, seconds):
        super().__init__(marks, seconds)
        node = ray.get_runtime_context().get_node_id()
        Path(f"{marks}.{node}.node").touch()


def node_of_call(_):
    return own_node()


def main(folder):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    connect(ResourcesConfig())
    nodes_of_calls = {node for _, node in run_tasks(node_of_call, range(6), 3)}
    store, marks = Store.open(f"{folder}/store"), f"{folder}/marks"
    artifact = Artifact.of(store, "teacher", 1, {}, [])
    requests = [GenerationRequest(f"{i:024x}", f"text {i}", i) for i in range(ROWS)]
    pending = Pending(artifact)
    pending.add(requests)

    is_over = threading.Event()

    def used_nodes():
        """Return the number of nodes on which services have started."""
        return len(list(Path(folder).glob("*.node")))

    def take_away():
        """Remove a node when a third of the rows is finished and all nodes are in use."""
        while not is_over.wait(0.05) and (len(marked(marks)) < ROWS / 3 or used_nodes() < 3):
            pass
        used = used_nodes()
        cluster.remove_node(nodes[0], allow_graceful=False)
        return used

    start = functools.partial(Placed, marks, 1.0)
    resources = ActorResources(num_actors=3, num_cpus=1.5, rows_per_block=8)
    pool = ServicePool(start, resources, 16)
    with ThreadPoolExecutor() as threads:
        taking = threads.submit(take_away)
        try:
            generate(pending, "completions", pool, lambda n: None)
        finally:
            is_over.set()
    index = CompletionIndex(store, "completions")
    found = index.find([request.id for request in requests])
    result = {
        "calls_on_the_driver's_node": nodes_of_calls == {own_node()},
        "texts": [row.text for row in found] == [request.text[::-1] for request in requests],
        "completions": len(index),
        "nodes_used": taking.result(),
        "alive": sum(node["Alive"] for node in ray.nodes()),
    }
    Path(folder, "found.json").write_text(json.dumps(result))  # Ray prints logs to stdout
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
