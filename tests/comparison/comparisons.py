"""Comparisons of tiny students for the tests, and what their callbacks have heard."""

import dataclasses
import os

from kpod_ray.comparison.compare import ComparisonCallbacks
from kpod_ray.config import RunConfig
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.run import QUIET
from kpod_ray.report.comparison.outcomes import TrialOutcome

ARM_NAMES = ("uniform", "answer_only", "hand_weights", "kpod_adaptive")


def config_of(storage, **comparison):
    return RunConfig.model_validate(
        {
            "name": "c",
            "storage": str(storage),
            "questions": {"source": "arithmetic", "num_train": 8, "num_test": 4, "max_steps": 3},
            "teacher": {"kind": "reference"},
            "weighting": None,
            "schedule": {"num_stages": 2, "num_clusters": 2},
            "student": {
                # From here: every process must find it.
                "model": os.path.relpath(model_folder("tiny:1")),
                "learning_rate": 1e-2,
                "global_batch_size": 4,
            },
            "evaluation": {"backend": "transformers", "max_new_tokens": 4},
            "resources": {"train": {"num_workers": 1, "num_threads": 1}},
            "comparison": {"arms": ARM_NAMES, "num_seeds": 1, "max_concurrent": 2, **comparison},
        }
    )


def unrun_config(folder, student=(), **comparison):
    """Return the config of a comparison of hand-weighted arms, for tests that train nothing."""
    return RunConfig.model_validate(
        {
            "name": "c",
            "storage": str(folder / "store"),
            "seed": 7,
            "questions": {"source": "arithmetic", "num_train": 6, "num_test": 4},
            "teacher": {"kind": "reference"},
            "weighting": {"kind": "hand"},
            "student": {"model": "tiny:1", "template": "plain", **dict(student)},
            "evaluation": {"backend": "transformers"},
            "comparison": {"arms": ["uniform", "kpod"], **comparison},
        }
    )


def trial_outcome(arm, seed, settings, correct="10", **costs):
    """Return the outcome of a trial on two questions, unless ``correct`` says otherwise."""
    return TrialOutcome(arm, seed, settings, correct, **costs)


class Ears:
    """Remembers which artifacts were made, their manifests, which trials finished, and the rates."""

    def __init__(self):
        self.made, self.trials, self.manifests, self.counts, self.rates = [], [], [], [], []
        callbacks = dataclasses.replace(QUIET, on_start=self.made.append)
        self.callbacks = ComparisonCallbacks(
            callbacks, self.finish, lambda *counts: None, self.rates.append
        )

    def finish(self, trial, num_done, num_trials):
        self.trials.append(trial.arm)
        self.counts.append((num_done, num_trials))
