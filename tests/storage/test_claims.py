"""Claims whose process is gone keep nobody waiting, and other files are no claims."""

import dataclasses
import os
import time

import pytest

from kpod_ray.storage.claims import DEAD_SECONDS, FOLDER, Claim
from kpod_ray.storage.lease import leased
from tests.storage.foreign_claims import NAME, claims, foreign, never


@pytest.mark.parametrize("ticket", [0, 1, 10**9])
def test_a_process_of_another_machine_is_followed_when_its_claim_is_old(disk, ticket):
    path = f"{disk.root}/{foreign(disk, ticket=ticket)}"
    then = time.time() - DEAD_SECONDS - 5
    os.utime(path, (then, then))
    with leased(disk, NAME, never, pytest.fail, pytest.fail) as lease:
        assert lease is not None
        assert not os.path.exists(path)
        assert len(claims(disk)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "a.claim",
        "a~1~b.claim",
        "train-0123456789abcdef~1~a~b~2~3~e.claim.0.tmp",
        f"{'~' * 6}.claim",
    ],
)
def test_other_files_are_no_claims(disk, name):
    os.makedirs(f"{disk.root}/{FOLDER}")
    open(f"{disk.root}/{FOLDER}/{name}", "w").close()
    with leased(disk, NAME, never, pytest.fail, pytest.fail) as lease:
        assert lease is not None
    assert os.listdir(f"{disk.root}/{FOLDER}") == [name]


def test_an_earlier_process_with_the_same_number_or_a_forgotten_claim_is_dead(disk):
    own = Claim.of_this_process("train-0123456789abcdef")
    for started in (1, own.started):
        disk.write_text(dataclasses.replace(own, started=started, ticket=1).path, "")
        with leased(disk, NAME, never, pytest.fail, pytest.fail) as lease:
            assert lease is not None
        assert claims(disk) == []


def test_what_a_killed_renewal_leaves_goes_with_its_claim(disk):
    dead = dataclasses.replace(Claim.of_this_process("train-0123456789abcdef"), started=1)
    disk.write_text(dead.path, "")
    left = [f"{disk.root}/{dead.path}.0123.tmp", f"{disk.root}/{dead.path}"]
    open(left[0], "w").close()
    with leased(disk, NAME, never, pytest.fail, pytest.fail):
        assert not any(os.path.exists(path) for path in left)
