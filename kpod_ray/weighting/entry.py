"""The function that Ray Train runs on every worker of the token weighters' training.

Ray Train's controller process unpickles the function, too, and thereby imports this module. Torch and
transformers are imported only inside the function, so the controller starts seconds sooner.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.cluster.placement import own_node


def weighting_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Run `kpod_ray.weighting.worker.train_weighters` on one worker of Ray Train; return its result.

    Before the training, the worker reports its node to ``board``. Errors are those of `train_weighters`.

    Args:
        settings: ``job``, a `WeightingJob`, and ``board``, the handle of the `MetricsBoard` actor.
    """
    from kpod_ray.weighting.worker import train_weighters

    settings["board"].arrive.remote(own_node())
    return train_weighters(settings)
