"""The function that Ray Train runs on every worker of the student's training.

Ray Train's controller process imports this module, too, when it unpickles the function. torch and
transformers are imported only inside the function, so that the controller starts seconds sooner.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.cluster.placement import own_node


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Report this worker's node to the board, run `train_stages` and return its result.

    Every worker of Ray Train calls this function, also after a restart. Settings and errors are as in
    `kpod_ray.training.worker.train_stages`.
    """
    from kpod_ray.training.worker import train_stages

    settings["board"].arrive.remote(own_node())
    return train_stages(settings)
