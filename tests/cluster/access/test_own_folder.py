import os
import stat
from pathlib import Path

import pytest

from kpod_ray.cluster.access.own_folder import own_folder
from kpod_ray.errors import KpodError

OTHER_USER = 65534


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)


def test_no_other_user_can_enter(tmp_path):
    for _ in range(2):
        folder = Path(own_folder(tmp_path))
        assert list(tmp_path.iterdir()) == [folder]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o777)


def test_the_users_own_folder_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/somewhere")
    assert own_folder(tmp_path) == "/somewhere"
    assert list(tmp_path.iterdir()) == []


def refused(folder, match):
    with pytest.raises(KpodError, match=match):
        own_folder(folder)


def test_a_link_a_file_and_a_missing_parent_are_refused(tmp_path):
    name = tmp_path / f"ray-{os.geteuid()}"
    (tmp_path / "target").mkdir()
    name.symlink_to(tmp_path / "target")
    refused(tmp_path, "isn't a folder of this user")
    name.unlink()
    name.touch()
    refused(tmp_path, "set RAY_TMPDIR")
    refused(tmp_path / "gone", "No such file")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_the_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / f"ray-{os.geteuid()}").mkdir()
    os.chown(tmp_path / f"ray-{os.geteuid()}", OTHER_USER, OTHER_USER)
    refused(tmp_path, "isn't a folder of this user")
