"""The function that Ray Train runs on every worker of the student's training.

Ray Train's controller process unpickles the function, too, and thereby imports this module. To start the
controller seconds sooner, the module imports torch and transformers only inside the function, on the
worker.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.cluster.placement import own_node


def train_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Run `kpod_ray.training.worker.train_stages` on one worker; return its result.

    Every worker of Ray Train calls this function, also after a restart, and all at once. Before the
    training, the node of the worker is reported to ``board``. Errors are as in `train_stages`.

    Args:
        settings: ``job``, a `TrainJob`, and the actor handles ``scheduler``, ``board`` and
            ``validation_actor`` (which may be None).
    """
    from kpod_ray.training.worker import train_stages

    settings["board"].arrive.remote(own_node())
    return train_stages(settings)
