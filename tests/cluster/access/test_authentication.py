"""The token that Rays of this user require; no test here starts Ray."""

import os
import stat
import subprocess
import sys

import pytest

from kpod_ray.cluster.access import authentication
from kpod_ray.errors import KpodError

OTHER_USER = 65534
FIND = """
import sys
from kpod_ray.cluster.access import authentication
sys.stdin.read()  # until all processes are here
authentication.turn_on()
from ray._raylet import AuthenticationTokenLoader, get_authentication_mode, AuthenticationMode
assert get_authentication_mode() == AuthenticationMode.TOKEN
print(AuthenticationTokenLoader.instance().get_raw_token())
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder of a user without a token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path))
    yield tmp_path
    monkeypatch.setenv("RAY_AUTH_MODE", "token")


@pytest.fixture
def file(home):
    """A file of the user's token, as Ray itself makes the file."""
    (home / ".ray").mkdir()
    (home / ".ray").chmod(0o777)
    file = home / ".ray" / "auth_token"
    file.write_text("0" * 64)
    file.chmod(0o644)
    return file


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_that_no_other_user_can_read(home):
    authentication.turn_on()
    (file,) = (home / ".ray").iterdir()
    assert file.name == "auth_token"
    assert len(bytes.fromhex(file.read_text())) == 32
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_token_stays_and_is_closed_to_other_users(file):
    authentication.turn_on()
    assert file.read_text() == "0" * 64
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)


def test_a_closed_token_stays_as_it_is(file):
    file.parent.chmod(0o700)
    file.chmod(0o400)
    authentication.turn_on()
    assert mode(file) == 0o400


def test_processes_that_start_together_have_one_token(home):
    """Ray is imported without a mode in them, as by a script of a user."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_MODE"}
    command = [sys.executable, "-c", FIND]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(4)]
    for process in processes:
        process.stdin.close()
        process.stdin = None
    found = {process.communicate()[0].strip() for process in processes}
    assert found == {(home / ".ray/auth_token").read_text()}


@pytest.mark.parametrize("where", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_given_token_needs_no_home(where, home, monkeypatch, tmp_path_factory):
    given = tmp_path_factory.mktemp("mounted") / "token"
    given.write_text("1" * 64)
    monkeypatch.setenv(where, str(given))  # as a token, a path is as good as any text
    monkeypatch.delenv("HOME")
    authentication.turn_on()
    assert list(home.iterdir()) == []


def refused(match):
    with pytest.raises(KpodError, match=match) as found:
        authentication.turn_on()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_blank_token_is_refused(text, file):
    file.write_text(text)
    refused("is blank")


def test_a_blank_given_token_is_refused(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "  ")
    refused("RAY_AUTH_TOKEN should hold")


def test_a_given_file_that_is_missing_is_refused(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "gone"))
    refused("gone: No such file")


def test_a_home_that_cannot_be_written_is_refused(home, monkeypatch):
    (home / "file").touch()
    monkeypatch.setenv("HOME", str(home / "file"))
    refused("Not a directory; set RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", "/proc")
    refused("can't be kept in /proc/.ray/auth_token")


def test_without_a_home_the_token_must_be_given(home, monkeypatch):
    monkeypatch.delenv("HOME")
    refused("HOME isn't set")


def test_a_link_to_nothing_and_a_folder_are_refused(home):
    (home / ".ray").mkdir()
    (home / ".ray/auth_token").symlink_to(home / "gone")
    refused("No such file")
    (home / ".ray/auth_token").unlink()
    (home / ".ray/auth_token").mkdir()
    refused("Is a directory")


def test_a_file_that_is_no_text_is_refused(file):
    file.write_bytes(b"\xff\xfe" * 32)
    refused("isn't text")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_the_file_of_another_user_is_refused(file):
    os.chown(file, OTHER_USER, OTHER_USER)
    refused("belongs to another user")
