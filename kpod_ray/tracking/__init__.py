"""Track runs with Weights & Biases (W&B) and with Prometheus gauges.

A `Tracker` receives metrics and summaries of finished phases. A thread writes them to local W&B files; a
child process uploads the files. A failure of W&B switches tracking off with a warning, and never stops a
run. Only this package imports wandb and wandb_workspaces.
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
