"""A manifest says whether its phase was interrupted before."""

import pytest

from kpod_ray.config import load
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import QUIET, run_phases
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


@pytest.mark.parametrize("was_begun", [False, True])
def test_a_phase_that_had_begun_is_marked_as_resumed(tmp_path, was_begun):
    run = open_run(load(SMOKE, [f"storage={tmp_path}"]))
    questions = run.artifacts["questions"]
    if was_begun:
        (tmp_path / questions.folder).mkdir(parents=True)
    run_phases(run, "questions", QUIET)
    assert questions.manifest()["is_resumed"] == was_begun
