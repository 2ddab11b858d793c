"""Sizes, checksums and sealed texts against `sha256sum`'s values and every single changed byte."""

import hashlib
import math
import os

import pyarrow.fs as pafs
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.checksums import faults, file_names, file_sums, sealed, unsealed
from kpod_ray.storage.store import Store

LOCAL = pafs.LocalFileSystem()
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of FIPS 180-2
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "below" / "empty").write_bytes(b"")
    return tmp_path


def test_sums_are_those_of_the_standard(folder):
    names = file_names(LOCAL, str(folder))
    assert names == ["abc", "below/empty"]
    assert file_sums(LOCAL, str(folder), names) == {
        "abc": {"bytes": 3, "sha256": ABC},
        "below/empty": {"bytes": 0, "sha256": EMPTY},
    }


def test_a_file_larger_than_a_block_is_hashed_whole(tmp_path):
    content = os.urandom((1 << 24) + 17)
    (tmp_path / "large").write_bytes(content)
    sums = file_sums(LOCAL, str(tmp_path), ["large"])
    assert sums["large"]["sha256"] == hashlib.sha256(content).hexdigest()


def test_every_changed_byte_of_a_file_is_found(folder):
    files = file_sums(LOCAL, str(folder), ["abc"])
    for index in range(3):
        for bit in range(8):
            content = bytearray(b"abc")
            content[index] ^= 1 << bit
            (folder / "abc").write_bytes(content)
            found = list(faults(LOCAL, str(folder), files, ["abc"]))
            assert found == [("abc", "has another content than was written")]
    assert list(faults(LOCAL, str(folder), files, [])) == []  # only the size is looked at


def test_what_is_no_file_any_more_is_not_opened(folder):
    files = file_sums(LOCAL, str(folder), ["abc", "below/empty"])
    (folder / "abc").unlink()
    os.mkfifo(folder / "abc")  # opening it would wait for ever
    (folder / "below" / "empty").unlink()
    found = dict(faults(LOCAL, str(folder), files, files))
    assert found == {"abc": "isn't a file", "below/empty": "is missing"}


CONTENT = {"a": [1, 2.5, math.inf, None, True], "ä\n": {"b": "\u2028\x1b"}, "empty": {}}


def test_every_changed_byte_of_a_sealed_text_is_found():
    text = sealed(CONTENT)
    assert unsealed(text) == CONTENT
    raw = text.encode()
    for index in range(len(raw)):
        for bit in (0, 5):
            changed = bytearray(raw)
            changed[index] ^= 1 << bit
            with pytest.raises(ValueError):  # noqa: PT011 - of UTF-8, JSON or the checksum
                unsealed(changed.decode())


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "[" * 100_000, '{"checksum": 1}', "\x00"])
def test_what_was_never_sealed_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        unsealed(text)


def test_all_files_of_an_artifact_are_in_its_manifest_but_those_of_killed_writers(tmp_path):
    store = Store.open(str(tmp_path))
    artifact = Artifact.of(store, "train", 1, {}, [])
    for name in ("history.json", "student/config.json", "student/a.tmp"):
        store.write_text(f"{artifact.folder}/{name}", name)
    artifact.finish({"counts": {}})
    assert list(artifact.files()) == ["history.json", "student/config.json"]
    assert artifact.faults() == {}
    artifact.finish({"counts": {}})  # the manifest is no file of its own list
    assert list(artifact.files()) == ["history.json", "student/config.json"]


def test_a_file_lost_before_the_end_of_its_phase_is_named_by_the_next(tmp_path):
    artifact = Artifact.of(Store.open(str(tmp_path)), "plan", 1, {}, [])
    artifact.finish({"counts": {}})
    with pytest.raises(KpodError, match=r"schedule.parquet is missing; delete the folder"):
        artifact.read("schedule")
    with pytest.raises(KpodError, match=r"student has no files; delete the folder"):
        artifact.check_folder("student")
