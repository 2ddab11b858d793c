"""Program: the node of a training is about to be preempted.

Checks that the training gives the losses and the parameters of a training that nothing happens to.
Writes to ``found.json`` how many updates were made twice. The program needs a process of its own,
because a process can connect to one Ray only.
"""

import json
import subprocess
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ResourcesConfig
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_tokenizer
from kpod_ray.storage.artifacts import Artifact
from tests.training.training_runs import assert_same_way, train, write_inputs

BUDGET = 6000
"""Tokens in the loss of all stages: enough that the training continues long after the notice."""


def drain(address, node):
    """Announce that a node is preempted in two minutes."""
    command = ["ray", "drain-node", "--address", address, "--node-id", node.node_id]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test"]
    subprocess.run([*command, "--deadline-remaining-seconds", "120"], check=True)


def main(folder):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    first = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    connect(ResourcesConfig())
    inputs = write_inputs(f"{folder}/store", load_tokenizer(model_folder("tiny:0")))
    drained, seen = [], []

    def announce(metrics):
        """Drain the node at the first train step of stage 2."""
        seen.append(metrics["train_step"])
        if metrics["stage"] == 2 and not drained:
            drained.append(first)
            cluster.add_node(num_cpus=1)
            drain(cluster.address, first)

    moved, history = train(inputs, "moved", announce, loss_token_budget=BUDGET)
    assert drained
    alone = train(inputs, "alone", loss_token_budget=BUDGET)
    assert_same_way((moved, history), alone)
    nodes = Artifact.of(inputs[0], "train", 1, {"label": "moved"}, []).manifest()["nodes"]
    found = {"made_twice": len(seen) - len(set(seen)), "nodes": len(nodes)}
    Path(folder, "found.json").write_text(json.dumps(found))  # Ray prints logs to stdout
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
