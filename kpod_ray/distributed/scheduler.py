"""The scheduler: one actor a run that holds the plan and is asked once at every stage.

A decision is written down before it is given. A restarted actor, or the actor of a new driver, gives
the same answers. The class is plain; the trainer wraps it with ``ray.remote`` where it is created.
"""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

from kpod_ray.artifacts import Store


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a stage trains on: small enough to be broadcast to every worker."""

    stage: int
    """1 to the number of stages."""
    plan: str
    """Folder of the artifact whose ``schedule`` table holds the given steps."""
    plan_stage: int
    """Stage of that table."""


class Scheduler:
    """Answers which part of the plan a stage trains on; keeps the statistics of finished stages."""

    def __init__(self, storage: str, folder: str, plan: str, num_stages: int) -> None:
        self.store = Store.open(storage)
        self.path = f"{folder}/decisions.json"
        self.plan, self.num_stages = plan, num_stages
        self.decisions: dict[str, dict[str, Any]] = {}
        if self.store.exists(self.path):
            self.decisions = json.loads(self.store.read_text(self.path))

    def decide(self, stage: int) -> Decision:
        """Return the decision for a stage; the first answer is kept and given again for ever.

        Raises:
            ValueError: There is no such stage.
        """
        if not 1 <= stage <= self.num_stages:
            raise ValueError(f"stage {stage} is outside 1 to {self.num_stages}")
        if str(stage) not in self.decisions:
            decision = Decision(stage, self.plan, stage)
            self._persist(stage, {**dataclasses.asdict(decision), "decided_at": time.time()})
        kept = self.decisions[str(stage)]
        return Decision(kept["stage"], kept["plan"], kept["plan_stage"])

    def report_stage(self, stage: int, statistics: dict[str, float]) -> None:
        """Keep a finished stage's statistics beside its decision."""
        self._persist(stage, {**self.decisions[str(stage)], "statistics": statistics})

    def _persist(self, stage: int, entry: dict[str, Any]) -> None:
        decisions = {**self.decisions, str(stage): entry}
        self.store.write_text(self.path, json.dumps(decisions, indent=2))
        self.decisions = decisions
