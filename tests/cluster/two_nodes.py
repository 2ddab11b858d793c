"""Program: remove one of two nodes of a cluster in the middle of an elastic training.

Checks that the training gives the losses and the parameters of a training on one node, and writes the
number of workers at each train step to ``found.json``. The program needs a process of its own, because a
process can connect to one Ray only.
"""

import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ResourcesConfig
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_tokenizer
from tests.training.training_runs import assert_same_way, train, write_inputs

BUDGET = 6000
"""Tokens in the loss of all stages: enough that the training continues long after the removal."""


def main(folder):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    connect(ResourcesConfig())
    inputs = write_inputs(f"{folder}/store", load_tokenizer(model_folder("tiny:0")))
    removed = []

    def take_away(metrics):
        """Remove a node at the first train step of stage 2."""
        if metrics["stage"] == 2 and not removed:
            removed.append(other)
            cluster.remove_node(other, allow_graceful=False)

    settings = {"loss_token_budget": BUDGET}
    resources = {"num_workers": 2, "min_workers": 1}
    elastic, history = train(inputs, "elastic", take_away, resources=resources, **settings)
    assert removed
    alone = train(inputs, "alone", **settings)  # on the remaining node
    assert_same_way((elastic, history), alone)
    num_workers = [row["num_workers"] for row in history]
    Path(folder, "found.json").write_text(json.dumps(num_workers))  # Ray prints logs to stdout
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
