"""Naming a run touches nothing; opening it checks what it needs."""

import pytest

from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import check_models, name_run, open_run
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def smoke(tmp_path, *overrides):
    return load(SMOKE, [f"storage={tmp_path / 'store'}", *overrides])


def test_naming_makes_nothing_and_opening_makes_the_storage(tmp_path):
    named = name_run(smoke(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert open_run(smoke(tmp_path)) == named
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert list((tmp_path / "store").iterdir()) == []


def test_a_run_is_named_without_its_models_and_not_opened(tmp_path):
    config = smoke(tmp_path, "student.model=packaged:gone")
    assert name_run(config).artifacts["train"].folder.startswith("train/")
    with pytest.raises(KpodError, match="packaged:gone: known are"):
        open_run(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("teacher.model=tiny-t5:0", "vLLM takes no encoder-decoder"),
        ("weighting.predictor=/no", "/no: no such model folder"),
        ("schedule.embedding=/no/words.txt", "/no/words.txt doesn't exist"),
        ("schedule.embedding=packaged:no", "packaged:no: known are"),
    ],
)
def test_every_model_of_a_config_is_checked(tmp_path, override, told):
    with pytest.raises(KpodError, match=told):
        check_models(smoke(tmp_path, override))


def test_a_relative_storage_is_the_same_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = open_run(load(SMOKE, ["storage=here"]))
    assert run.config.storage == run.store.root == str(tmp_path / "here")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert name_run(run.config) == run


def test_a_relative_storage_of_a_ray_job_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(KpodError, match="storage here is relative, and a Ray job"):
        open_run(load(SMOKE, ["storage=here"]))
    assert list(tmp_path.iterdir()) == []
    assert open_run(smoke(tmp_path)).store.root == str(tmp_path / "store")
