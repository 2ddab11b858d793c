"""The function that Ray Train runs on every worker of the token weighter's training.

Ray Train's controller process unpickles the function, too, and thereby imports this module. To start the
controller seconds sooner, the module imports torch and transformers only inside the function, on the
worker.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.cluster.placement import own_node


def weighting_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Run `kpod_ray.weighting.worker.train_weighter` on one worker; return its result.

    Ray Train calls this function on every worker. Before the training, the node of the worker is
    reported to ``board``.

    Args:
        settings: ``job``, a `WeightingJob`, and ``board``, the handle of the `MetricsBoard` actor.

    Raises:
        KpodError: As in `train_weighter`.
        OSError: As in `train_weighter`.
        RuntimeError: As in `train_weighter`.
        ValueError: As in `train_weighter`.
    """
    from kpod_ray.weighting.worker import train_weighter

    settings["board"].arrive.remote(own_node())
    return train_weighter(settings)
