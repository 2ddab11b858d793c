"""Tracking with Weights & Biases, and gauges for Prometheus.

Only this package imports wandb and wandb_workspaces. Everything is written to local files first;
failures of W&B never stop a run.
"""

from kpod_ray.tracking.summaries import Markup, PhaseSummary
from kpod_ray.tracking.tracker import NullTracker, Tracker, open_tracker, tracked
from kpod_ray.tracking.wandb_login import has_wandb_login

__all__ = [
    "Markup",
    "NullTracker",
    "PhaseSummary",
    "Tracker",
    "has_wandb_login",
    "open_tracker",
    "tracked",
]
