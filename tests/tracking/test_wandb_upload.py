"""``kpod sync``: one line of what was sent, or of what is missing."""

import subprocess
import sys

import pytest

from kpod_ray.cli.main import main
from kpod_ray.errors import KpodError
from kpod_ray.tracking import open_tracker
from kpod_ray.tracking.wandb_upload import place_of, send
from tests.conftest import REPOSITORY
from tests.tracking.trackers import config
from tests.tracking.wandb_server import hanging_server, refusing_server

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")


@pytest.fixture
def offline(tmp_path):
    """The folder of a run that was never online."""
    folder = tmp_path / "store" / "runs" / "smoke"
    tracker = open_tracker(config("offline"), folder)
    tracker.log({"train/loss": 0.5})
    tracker.finish()
    return folder


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["sync", *arguments])
    streams = capsys.readouterr()
    (line,) = [*streams.out.splitlines(), *streams.err.splitlines()]
    return ended.value.code or 0, line


def test_a_run_is_sent_by_its_config_and_once(offline, server, key, capsys):
    storage = f"storage={offline.parents[1]}"
    code, line = told(capsys, SMOKE, storage)
    (run_id,) = server.runs
    assert line == f"sent 1 W&B file of {offline}: {server.url}/me/kpod/runs/{run_id}"
    assert code == 0
    code, line = told(capsys, str(offline))
    assert line == f"nothing to send: W&B has all 1 W&B file of {offline}"
    assert code == 0


def test_without_a_key_it_is_said_so(offline, server, capsys):
    code, line = told(capsys, str(offline))
    assert (code, "no W&B API key" in line) == (2, True)
    assert not server.sent


ONLINE = """
import sys
from pathlib import Path
from kpod_ray.tracking import open_tracker
from tests.tracking.trackers import config

tracker = open_tracker(config("online"), Path(sys.argv[1]))
tracker.log({"train/train_step": 1, "train/loss": 0.5})
tracker.finish()
"""


def test_the_run_is_sent_and_nothing_that_the_library_would_tell_of_itself(tmp_path, server, key):
    subprocess.run([sys.executable, "-c", ONLINE, str(tmp_path / "a")], check=True)
    (run_id,) = server.runs
    assert set(server.paths) == {"/graphql", f"/files/me/kpod/{run_id}/file_stream"}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("dead", [refusing_server, hanging_server])
def test_a_dead_wandb_is_named(offline, monkeypatch, dead):
    with dead() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url)
        with pytest.raises(KpodError, match=f"W&B at {url} doesn't answer"):
            send(offline)


def test_a_wandb_that_refuses_is_quoted_and_the_file_stays(offline, server, key):
    server.status = 401
    with pytest.raises(KpodError, match=r"W&B has not taken 1 W&B file of .*401") as refused:
        send(offline)
    assert key not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(offline.rglob("*.synced"))


def test_places_without_wandb_files_are_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    code, line = told(capsys, str(tmp_path / "empty"))
    assert (code, "holds no W&B files" in line) == (2, True)
    code, line = told(capsys, SMOKE, f"storage={tmp_path}")
    assert (code, "holds no W&B files" in line) == (2, True)
    with pytest.raises(KpodError, match="overrides belong to a config"):
        place_of(str(tmp_path), ["name=b"])
    with pytest.raises(KpodError, match=r"nowhere.yaml"):
        place_of("nowhere.yaml", ())
