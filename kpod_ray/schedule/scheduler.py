"""The scheduler: one actor for each training run, which decides what every stage trains on.

A decision is written to the store before the decision is returned. A restarted actor, or the actor of a
resumed run, therefore returns the same decisions.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from kpod_ray.schedule.replan import Replanner
from kpod_ray.schedule.tables import Decision
from kpod_ray.storage.store import Store


class Scheduler:
    """Decides which plan each stage trains on, and stores the statistics of finished stages.

    `Scheduler` is a plain class, of which phase ``train`` makes one Ray actor. Decisions and statistics
    are stored in ``decisions.json`` of the training run's folder; the constructor reads the file if it
    exists.

    Args:
        storage: Address of the run's store.
        folder: Folder of the training run, relative to the store's root.
        plan: Folder of the plan of phase ``plan``, relative to the store's root.
        num_stages: N_e, number of stages of the plan.
        replanner: Plans each stage again when the stage begins; None uses the plan of phase ``plan`` for
            all stages.

    Raises:
        KpodError: The store can't be opened.
    """

    def __init__(
        self,
        storage: str,
        folder: str,
        plan: str,
        num_stages: int,
        replanner: Replanner | None = None,
    ) -> None:
        self.store = Store.open(storage)
        self.path = f"{folder}/decisions.json"
        self.plan = plan
        self.num_stages = num_stages
        self.replanner = replanner
        self.decisions: dict[str, dict[str, Any]] = {}
        if self.store.exists(self.path):
            self.decisions = json.loads(self.store.read_text(self.path))

    def decide(self, stage: int) -> Decision:
        """Return the decision for a stage, from 1. The call is idempotent: the first decision is stored.

        The decision is written to ``decisions.json`` before the call returns. With a replanner, the
        first call for a stage plans the stage, and the stages before it if they have no decision; the
        step losses of the stage before must be written already. Stages after the last one repeat the
        decision of the last stage.

        Raises:
            ValueError: The stage is below 1; or as in `Replanner.replan`.
            FileNotFoundError: As in `Replanner.replan`.
        """
        if stage < 1:
            raise ValueError(f"stage is {stage}, expected at least 1")
        if str(stage) not in self.decisions:
            decision = self._decision(stage)
            self._persist(stage, {**dataclasses.asdict(decision), "decided_at": time.time()})
        stored = self.decisions[str(stage)]
        return Decision(stored["stage"], stored["plan"], stored["plan_stage"])

    def report_stage(self, stage: int, statistics: dict[str, float]) -> None:
        """Store the statistics of a finished stage in ``decisions.json``, in place of older ones.

        The statistics, metric name -> value, are for readers of the file; no decision depends on them.

        Raises:
            KeyError: `decide` was never called for the stage.
        """
        self._persist(stage, {**self.decisions[str(stage)], "statistics": statistics})

    def _decision(self, stage: int) -> Decision:
        if self.replanner is None:
            return Decision(stage, self.plan, min(stage, self.num_stages))
        before = self.decide(stage - 1) if stage > 1 else Decision(0, self.plan, 0)
        if stage > self.num_stages:  # further epochs repeat the last stage
            return dataclasses.replace(before, stage=stage)
        folder = self.replanner.replan(self.store, stage, before.plan, before.plan_stage)
        return Decision(stage, folder, stage)

    def _persist(self, stage: int, entry: dict[str, Any]) -> None:
        decisions = {**self.decisions, str(stage): entry}
        self.store.write_text(self.path, json.dumps(decisions, indent=2))
        self.decisions = decisions
