"""A call that trains is killed since another call failed; notes the CPUs before and afterwards.

Runs as a process of its own: this Ray has a dashboard.
"""

import json
import os
import sys
import time
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from kpod_ray.cluster.connection import connect_with_dashboard
from kpod_ray.cluster.tasks import run_tasks
from kpod_ray.config import ResourcesConfig

SECONDS = 60


def train_forever(settings):
    Path(settings["mark"]).write_text("training")
    while True:
        time.sleep(0.1)


def train_or_fail(task):
    kind, folder = task
    mark = f"{folder}/mark"
    if kind == "trains":
        scaling = ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1})
        run_config = RunConfig(storage_path=f"{folder}/fit")
        TorchTrainer(
            train_forever,
            train_loop_config={"mark": mark},
            scaling_config=scaling,
            run_config=run_config,
        ).fit()
    while not os.path.exists(mark):
        time.sleep(0.1)
    raise OSError(f"{ray.available_resources().get('CPU', 0):g} CPUs were free")


def main(folder):
    connect_with_dashboard(ResourcesConfig(local_cpus=4, object_store_gib=0.2))
    try:
        list(run_tasks(train_or_fail, [("trains", folder), ("fails", folder)], 2))
    except OSError as error:
        message = str(error).splitlines()[-1]  # Ray puts the traceback before it
    deadline = time.time() + SECONDS
    while ray.available_resources()["CPU"] < 4 and time.time() < deadline:
        time.sleep(0.5)
    found = {"while training": message, "afterwards": ray.available_resources()["CPU"]}
    Path(folder, "found.json").write_text(json.dumps(found))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
