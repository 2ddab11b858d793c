"""Planning one stage of an adaptive schedule from the step losses of the stage before.

A `Replanner` runs inside the scheduler actor, reads tables and loads no model.
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
from kpod_ray.storage.store import Store


@dataclasses.dataclass(frozen=True)
class Replanner:
    """Plans single stages of one training run.

    The folders are relative to the root of the store that `replan` gets.
    """

    schedule: ScheduleConfig
    """Settings of the schedule."""
    assess: str
    """Folder of the artifact of phase ``assess``, which holds the difficulties before training."""
    clusters: str
    """Folder of the artifact of phase ``plan``, which holds the clusters of the training questions."""
    train: str
    """Folder of the training run, which holds the measured step losses and gets the new plans."""

    def replan(self, store: Store, stage: int, plan: str, plan_stage: int) -> str:
        """Plan a stage from the given steps and step losses of the stage before; write the plan.

        The difficulty of a step that stage t - 1 supervised is its measured loss; that of any other step
        is the difficulty before training. Equal inputs give equal files; existing files are replaced.

        Args:
            store: Store that holds all folders.
            stage: t, at least 1. For t above 1, the step losses of stage t - 1, of the same questions as
                the clusters, must be written already: without their file, no error is raised, and all
                difficulties are those before training.
            plan: Folder of the plan that holds the given steps of stage t - 1.
            plan_stage: Stage of that plan's table whose rows are the given steps of stage t - 1.

        Returns:
            Folder of the new plan relative to the store's root. Its files hold stage t alone; see
            `write_plan`.

        Raises:
            ValueError: As in `algorithm.schedule.replan` and `schedule_settings`, such as for a stage
                below 1 or a plan with other questions than the clusters.
            FileNotFoundError: The clusters, the difficulties or the plan aren't written.
        """
        clusters = store.read_table(f"{self.clusters}/clusters.parquet").sort_by("question_id")
        table = store.read_table(f"{self.assess}/difficulties.parquet")
        table = table.filter(pc.is_in(table["question_id"], clusters["question_id"]))
        initial = step_values(table, difficulty_column(self.schedule))
        difficulties = self._reassessed(store, stage - 1, initial.values)
        schedule = store.read_table(f"{plan}/schedule.parquet")
        rows = schedule.filter(pc.field("stage") == plan_stage).sort_by("question_id")
        replanned = replan(
            stage,
            rows["num_given_steps"].to_numpy(),
            difficulties,
            initial.num_steps,
            clusters["cluster_id"].to_numpy(),
            schedule_settings(self.schedule),
        )
        folder = f"{self.train}/replans/stage-{stage}"
        write_plan(store, folder, initial.question_ids, replanned)
        return folder

    def _reassessed(
        self, store: Store, stage: int, initial: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return the losses of the steps that a stage supervised, and the initial value of the others.

        Losses of earlier stages aren't needed: a supervised step never becomes a given step again, so
        a step without a loss at this stage has no loss at any earlier stage.
        """
        path = f"{self.train}/step_losses/stage-{stage}.parquet"
        if not store.exists(path):  # stage 0 trains nothing
            return initial
        measured = step_values(store.read_table(path), "step_losses").values
        return np.where(np.isnan(measured), initial, measured)
