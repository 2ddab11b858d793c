"""The scheduler: one actor a run that holds the plan and is asked once at every stage.

A decision is written down before it is given. A restarted actor, or the actor of a new driver, gives
the same answers. The class is plain; the trainer wraps it with ``ray.remote`` where it is created.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from kpod_ray.schedule.replan import Replanner
from kpod_ray.schedule.tables import Decision
from kpod_ray.storage.artifacts import Store


class Scheduler:
    """Answers which plan a stage trains on; keeps the statistics of finished stages.

    Args:
        storage: of the run.
        folder: of the training run in the store.
        plan: folder of the plan that was made before training.
        num_stages: N_e, stages of the plan.
        replanner: plans each stage anew when it is asked for; None keeps to the plan.
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
        self.plan, self.num_stages, self.replanner = plan, num_stages, replanner
        self.decisions: dict[str, dict[str, Any]] = {}
        if self.store.exists(self.path):
            self.decisions = json.loads(self.store.read_text(self.path))

    def decide(self, stage: int) -> Decision:
        """Return the decision for a stage; the first answer is kept and given again for ever.

        Raises:
            ValueError: The stage is below 1.
        """
        if stage < 1:
            raise ValueError(f"stage is {stage}, expected at least 1")
        if str(stage) not in self.decisions:
            decision = self._decision(stage)
            self._persist(stage, {**dataclasses.asdict(decision), "decided_at": time.time()})
        kept = self.decisions[str(stage)]
        return Decision(kept["stage"], kept["plan"], kept["plan_stage"])

    def report_stage(self, stage: int, statistics: dict[str, float]) -> None:
        """Keep a finished stage's statistics beside its decision."""
        self._persist(stage, {**self.decisions[str(stage)], "statistics": statistics})

    def _decision(self, stage: int) -> Decision:
        if self.replanner is None:
            return Decision(stage, self.plan, min(stage, self.num_stages))
        before = self.decide(stage - 1) if stage > 1 else Decision(0, self.plan, 0)
        if stage > self.num_stages:
            return dataclasses.replace(before, stage=stage)
        folder = self.replanner.replan(self.store, stage, before.plan, before.plan_stage)
        return Decision(stage, folder, stage)

    def _persist(self, stage: int, entry: dict[str, Any]) -> None:
        decisions = {**self.decisions, str(stage): entry}
        self.store.write_text(self.path, json.dumps(decisions, indent=2))
        self.decisions = decisions
