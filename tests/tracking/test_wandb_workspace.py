"""The workspace as W&B would get it, and what is said when there is no W&B."""

import json

import pytest

from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.tracking.wandb_workspace import build_workspace, save_dashboard
from tests.conftest import REPOSITORY
from tests.tracking.wandb_server import refusing_server

OBJECTIVE = "outcome/validation_loss"
SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def section_of(*overrides):
    workspace = build_workspace(load(SMOKE, overrides), "team")
    view = json.loads(workspace._to_model().model_dump_json(by_alias=True, exclude_none=True))
    assert (view["entity"], view["project"]) == ("team", "kpod")
    return view["spec"]["section"]


def panels_of(section):
    sections = section["panelBankConfig"]["sections"]
    assert all(part["isOpen"] for part in sections)
    return {part["name"]: part["panels"] for part in sections}


def test_the_sweep_is_drawn_over_the_settings_of_the_value_function():
    panels = panels_of(section_of())
    assert list(panels) == ["Sweep", "Curves by stage", "Keypoints", "Outcome"]
    coordinates, importance = panels["Sweep"][:2]
    assert [column["accessor"] for column in coordinates["config"]["columns"]] == [
        "config:schedule.value.diversity_weight",
        "config:schedule.value.growth",
        "config:schedule.value.initial_fraction",
        "config:schedule.value.num_clusters",
        "config:schedule.value.num_stages",
        "config:weighting.value.mask_ratio_weight",
        f"summary:{OBJECTIVE}",
    ]
    assert importance["config"]["targetKey"] == OBJECTIVE


def test_a_sweep_of_its_own_is_drawn_over_its_own_settings():
    section = section_of(
        "sweep.space={student.learning_rate: {loguniform: [1e-6, 1e-4]}}",
        "sweep.objective=validation_accuracy",
    )
    coordinates, importance = panels_of(section)["Sweep"][:2]
    assert [column["accessor"] for column in coordinates["config"]["columns"]] == [
        "config:student.value.learning_rate",
        "summary:outcome/validation_accuracy",
    ]
    assert importance["config"]["targetKey"] == "outcome/validation_accuracy"
    (runs,) = section["runSets"]
    assert runs["filters"]["filters"][0]["value"] == "smoke"  # the group of its trials
    assert not runs["sort"]["keys"][0]["ascending"]


def test_every_setting_that_is_drawn_is_a_setting():
    """A setting that is renamed would leave an empty axis."""
    columns = section_of()["runSets"][0]["runFeed"]["columnOrder"]
    settings = load(SMOKE).override({"weighting.mask_ratio_weight": 0.5}).model_dump()
    paths = [name.removeprefix("config:") for name in columns if name.startswith("config:")]
    assert len(paths) == 6
    for path in paths:
        first, name = path.split(".value.")
        assert settings[first][name] is not None


def test_only_runs_of_the_group_are_shown_the_best_first():
    (grouped,) = section_of("tracking.group=sweep-1")["runSets"]
    (shown,) = grouped["filters"]["filters"]
    assert (shown["key"]["name"], shown["op"], shown["value"]) == ("group", "=", "sweep-1")
    (order,) = grouped["sort"]["keys"]
    assert (order["key"]["name"], order["ascending"]) == (OBJECTIVE, True)
    (all_runs,) = section_of()["runSets"]
    assert not all_runs["filters"]["filters"]


def test_curves_have_their_own_axes():
    lines = {
        panel["config"]["chartTitle"]: panel["config"]
        for panels in panels_of(section_of()).values()
        for panel in panels
        if panel["viewType"] == "Run History Line Plot"
    }
    assert lines["Validation loss, nats"]["xAxis"] == "train/train_step"
    assert lines["Validation loss, nats"]["metrics"] == ["train/validation_loss"]
    assert lines["Given steps, mean"]["xAxis"] == "schedule/stage"
    assert lines["Token weights"]["xAxis"] == "token_weight/weight"


def test_without_a_key_or_an_answer_it_is_one_line(monkeypatch, key):
    with refusing_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(KpodError, match="doesn't answer"):
            save_dashboard(load(SMOKE))
        monkeypatch.delenv("WANDB_API_KEY")
        with pytest.raises(KpodError, match="no W&B API key"):
            save_dashboard(load(SMOKE))


@pytest.mark.usefixtures("key")
def test_a_wandb_that_refuses_the_workspace_is_quoted(server):
    server.status = 401
    with pytest.raises(KpodError, match="W&B refuses the dashboard") as refused:
        save_dashboard(load(SMOKE, ["tracking.entity=team"]))
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("key")
def test_the_workspace_is_saved_for_the_project(server):
    address = save_dashboard(load(SMOKE, ["tracking.group=sweep-1"]))
    assert address.startswith(f"{server.url}/me/kpod?nw=")
    (saved,) = server.views
    assert (saved["entityName"], saved["displayName"]) == ("me", "kpod sweep-1")
    assert len(json.loads(saved["spec"])["section"]["panelBankConfig"]["sections"]) == 4
