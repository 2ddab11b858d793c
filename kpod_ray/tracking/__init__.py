"""Tracking of a run: W&B or nothing; the only package that imports wandb and wandb_workspaces.

Everything goes to files of this machine first, and a child process sends them: so a W&B that is slow
or gone neither slows nor stops a run. The first failure says so once and turns tracking off.
"""

from kpod_ray.tracking.facts import Facts, Histogram, Markup
from kpod_ray.tracking.login import has_wandb_login
from kpod_ray.tracking.tracker import NullTracker, Tracker, open_tracker, tracked

__all__ = [
    "Facts",
    "Histogram",
    "Markup",
    "NullTracker",
    "Tracker",
    "has_wandb_login",
    "open_tracker",
    "tracked",
]
