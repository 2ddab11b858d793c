"""One stage of an adaptive schedule, planned again from what its reasoning steps cost now.

It runs inside the scheduler actor and loads no model.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from kpod_ray.algorithm.schedule import replan
from kpod_ray.config import ScheduleConfig
from kpod_ray.schedule.settings import difficulty_column, schedule_settings
from kpod_ray.schedule.tables import step_values, write_plan
from kpod_ray.storage.artifacts import Store


@dataclasses.dataclass(frozen=True)
class Replanner:
    """Plans single stages of one training run; holds nothing but plain values."""

    schedule: ScheduleConfig
    assess: str
    """Folder of the artifact with the difficulties."""
    clusters: str
    """Folder of the artifact with the clusters of what is trained on: the plan before training."""
    train: str
    """Folder of the training run, which holds its step losses and gets the plans."""

    def replan(self, store: Store, stage: int, plan: str, plan_stage: int) -> str:
        """Plan a stage from the given steps of the one before; return the folder of its plan.

        Args:
            store: holds all of these folders.
            stage: t, at least 1.
            plan: folder whose schedule holds the given steps of stage t - 1.
            plan_stage: stage of that schedule.
        """
        clusters = store.read_table(f"{self.clusters}/clusters.parquet").sort_by("question_id")
        table = store.read_table(f"{self.assess}/difficulties.parquet")
        table = table.filter(pc.is_in(table["question_id"], clusters["question_id"]))
        known = step_values(table, difficulty_column(self.schedule))
        difficulties = self._reassessed(store, stage - 1, known.values)
        schedule = store.read_table(f"{plan}/schedule.parquet")
        rows = schedule.filter(pc.field("stage") == plan_stage).sort_by("question_id")
        replanned = replan(
            stage,
            rows["num_given_steps"].to_numpy(),
            difficulties,
            known.num_steps,
            clusters["cluster_id"].to_numpy(),
            schedule_settings(self.schedule),
        )
        folder = f"{self.train}/replans/stage-{stage}"
        write_plan(store, folder, known.question_ids, replanned)
        return folder

    def _reassessed(
        self, store: Store, stage: int, known: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the losses of a stage's steps where they were measured, else the first ones.

        No step is given again once it was emitted, so what isn't measured now never was.
        """
        path = f"{self.train}/step_losses/stage-{stage}.parquet"
        if not store.exists(path):
            return known
        measured = step_values(store.read_table(path), "step_losses").values
        return np.where(np.isnan(measured), known, measured)
