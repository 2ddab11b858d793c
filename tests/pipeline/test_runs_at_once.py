"""Runs at the same time on one storage."""

import dataclasses
import os
import threading
import uuid

import pytest

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import QUIET, run_phases
from kpod_ray.storage.claims import FOLDER, Claim


class Callbacks:
    """Writes down what a run tells."""

    def __init__(self):
        self.started, self.finished, self.waits = [], [], []
        self.callbacks = dataclasses.replace(
            QUIET,
            on_start=self.started.append,
            on_finish=lambda name, manifest: self.finished.append((name, manifest)),
            on_wait=lambda *wait: self.waits.append(wait),
            on_lost=pytest.fail,
        )


@pytest.fixture
def questions_run(tmp_path):
    """A run, and the claim of a process on another machine to its first artifact."""
    questions = {"source": "arithmetic", "num_train": 4, "num_test": 1, "max_steps": 2}
    teacher = {"kind": "reference"}
    settings = {"name": "a", "storage": str(tmp_path), "questions": questions, "teacher": teacher}
    run = open_run(RunConfig.model_validate({**settings, "student": {"model": "tiny:0"}}))
    lease = run.artifacts["questions"].folder.replace("/", "-")
    claim = Claim(lease, 1, uuid.uuid4().hex, "another", 4711, 1, "elsewhere")
    run.store.write_text(claim.path, "")
    return run, claim


def test_a_run_waits_for_what_another_makes_and_takes_it(questions_run):
    run, claim = questions_run
    artifact, notes = run.artifacts["questions"], Callbacks()
    other = threading.Timer(2.0, artifact.finish, [{"counts": {"train": 4, "test": 1}}])
    other.start()
    run_phases(run, "questions", notes.callbacks)
    other.join()
    assert notes.waits == [("questions", "host elsewhere, process 4711")]
    assert notes.started == []
    assert [name for name, _ in notes.finished] == ["questions"]
    assert run.store.files(FOLDER) == [os.path.basename(claim.path)]


def test_a_run_makes_what_another_gives_up(questions_run):
    run, claim = questions_run
    notes = Callbacks()
    other = threading.Timer(2.0, run.store.delete, [claim.path])
    other.start()
    run_phases(run, "questions", notes.callbacks)
    other.join()
    assert notes.waits == [("questions", "host elsewhere, process 4711")]
    assert notes.started == ["questions"]
    assert run.artifacts["questions"].read("questions").num_rows == 5
    assert run.store.files(FOLDER) == []


def test_what_another_process_took_over_is_not_finished(questions_run):
    run, claim = questions_run
    run.store.delete(claim.path)
    notes = Callbacks()

    def take_over(name):
        """Delete the claim, as a process of another machine does after a minute's sleep."""
        for file in run.store.files(FOLDER):
            run.store.delete(f"{FOLDER}/{file}")

    callbacks = dataclasses.replace(notes.callbacks, on_start=take_over)
    with pytest.raises(KpodError, match="another process took over"):
        run_phases(run, "questions", callbacks)
    assert not run.artifacts["questions"].is_finished()
    assert notes.finished == []
