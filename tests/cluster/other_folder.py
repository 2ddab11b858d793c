"""Program: connect to a cluster that was started in another folder than the driver's.

Writes to ``found.json`` the current folder of tasks with and without a runtime environment of their own.
The program needs a process of its own, because a process can connect to one Ray only.
"""

import json
import os
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from kpod_ray.cluster.connection import connect
from kpod_ray.config import ResourcesConfig

OPTIONS = {"plain": {}, "as of Ray Train": {"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}}


def own_folder():
    """Return the current folder of the process that runs the task."""
    return os.getcwd()


def main(folder):
    os.chdir(folder)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    os.mkdir("work")
    os.chdir("work")
    os.environ["RAY_ADDRESS"] = cluster.address
    connect(ResourcesConfig())
    task = ray.remote(own_folder)
    found = {name: ray.get(task.options(**given).remote()) for name, given in OPTIONS.items()}
    ray.shutdown()
    cluster.shutdown()
    Path(folder, "found.json").write_text(json.dumps(found))  # Ray prints logs to stdout


if __name__ == "__main__":
    main(sys.argv[1])
