"""What Ray Train hands to its workers.

Ray Train's controller, a process of its own, reads it as well. So this module imports nothing large: a
worker alone loads the libraries that it trains with, and every training starts seconds sooner.
"""

from __future__ import annotations

from typing import Any

from kpod_ray.cluster.placement import own_node


def weighting_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train the weighter as one worker, see `train_weighter`."""
    from kpod_ray.weighting.worker import train_weighter

    settings["board"].arrive.remote(own_node())
    return train_weighter(settings)
