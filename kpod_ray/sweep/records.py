"""Records of a sweep's trials in the store: one JSON file for each trial, nothing pickled.

The file ``sweeps/NAME/NUMBER.json`` is replaced whenever a trial starts, reports or ends. Other files in
the folder are never read.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from pydantic import TypeAdapter

from kpod_ray.config import SweepConfig, Value
from kpod_ray.errors import KpodError
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial
from kpod_ray.storage.store import Store
from kpod_ray.sweep.proposals import is_in_space, num_trials

RUNNING: Final = "running"
"""State of a trial under way, also of one whose driver was killed."""
_PARSER = TypeAdapter(SweepTrial)


class TrialRecords:
    """The trials of one sweep by number, in memory and in the store; one process writes them."""

    def __init__(self, store: Store, name: str, config: SweepConfig) -> None:
        """Read the trials of an earlier call.

        Raises:
            KpodError: A file doesn't hold a trial of this sweep; the message names the folder.
        """
        self._store = store
        self._folder = f"sweeps/{name}"
        self._trials: dict[int, SweepTrial] = {}
        present = set(store.files(self._folder))
        for number in range(num_trials(config)):
            if f"{_trial_id(number)}.json" in present:
                self._trials[number] = self._read(number, config)

    def trials(self) -> list[SweepTrial]:
        """Return all trials that were started, in the order of their numbers."""
        return [self._trials[number] for number in sorted(self._trials)]

    def unfinished(self) -> dict[int, SweepTrial]:
        """Return the trials that failed or are under way, by number."""
        return {n: t for n, t in self._trials.items() if t.state in (FAILED, RUNNING)}

    def __contains__(self, number: int) -> bool:
        return number in self._trials

    def start(self, number: int, settings: dict[str, Value]) -> SweepTrial:
        """Write down that a trial is under way; points of an earlier start are kept."""
        earlier = self._trials.get(number)
        curve = earlier.curve if earlier else ()
        return self._write(number, SweepTrial(_trial_id(number), settings, curve, RUNNING, ""))

    def add_point(self, number: int, percent: float, value: float) -> None:
        """Write down the objective of a started trial; the later of two values at a point counts."""
        trial = self._trials[number]
        curve = tuple(sorted({**dict(trial.curve), percent: value}.items()))
        self._write(number, dataclasses.replace(trial, curve=curve))

    def end(self, number: int, state: str, error: str = "") -> None:
        """Write down the final state of a started trial, and the error of a failed one."""
        self._write(number, dataclasses.replace(self._trials[number], state=state, error=error))

    def _write(self, number: int, trial: SweepTrial) -> SweepTrial:
        self._trials[number] = trial
        self._store.write_text(self._path(number), json.dumps(dataclasses.asdict(trial)))
        return trial

    def _path(self, number: int) -> str:
        return f"{self._folder}/{_trial_id(number)}.json"

    def _read(self, number: int, config: SweepConfig) -> SweepTrial:
        try:
            trial = _PARSER.validate_json(self._store.read_text(self._path(number)))
        except ValueError as error:  # invalid UTF-8, JSON or types
            raise self._damaged(number) from error
        is_state = trial.state in (FINISHED, STOPPED, FAILED, RUNNING)
        if not is_state or not is_in_space(config, trial.settings):
            raise self._damaged(number)
        return dataclasses.replace(trial, trial_id=_trial_id(number))

    def _damaged(self, number: int) -> KpodError:
        return KpodError(
            f"the saved state of the sweep in {self._store.address(self._path(number))} is damaged; "
            f"delete {self._store.address(self._folder)}: finished trainings are not run again"
        )


def _trial_id(number: int) -> str:
    return f"{number:04d}"
