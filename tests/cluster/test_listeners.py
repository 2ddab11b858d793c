"""While ``kpod run`` runs, nobody without the user's token gets anything from its ports."""

import ipaddress
import itertools
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from grpc import StatusCode

from tests.cluster.probes import METHODS, NO_SERVER, answers, call, drive, listeners
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.ray, pytest.mark.slow]

COMMAND = [
    *(sys.executable, "-m", "kpod_ray", "run", "configs/smoke.yaml", "--until", "weigh"),
    "weighting={num_adapt_steps: 1, num_train_steps: 2, validate_every: 2, global_batch_size: 4}",
]
"""The phases with all kinds of processes: a vLLM engine, and workers of Ray Train."""
MOST_SECONDS = 900


class Probed:
    """What became of a run on a machine without a token, and of requests to all its ports."""

    def __init__(self, folder):
        self.home, self.file, self.by_owner = (folder / n for n in ("home", "file", "by_owner"))
        self.home.mkdir()
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("RAY_AUTH_", "RAY_ADDRESS"))
        } | {"HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)}
        self.seen, self.answers, self.drivers = {}, {}, {}
        started = {**self.environment, "RAY_ADDRESS": "local", "RAY_AUTH_MODE": "disabled"}
        with open(folder / "output", "w") as output:
            run = subprocess.Popen(
                [*COMMAND, f"storage={folder / 'store'}"],
                cwd=REPOSITORY,
                env=started,
                stdout=output,
                stderr=output,
            )
            try:
                self.watch(psutil.Process(run.pid), run)
            finally:
                run.kill()
        self.status, self.output = run.wait(), (folder / "output").read_text()

    def watch(self, process, run):
        deadline = time.monotonic() + MOST_SECONDS
        while run.poll() is None and time.monotonic() < deadline:
            now = listeners(process)
            ports = [port for _, port in now.keys() - self.seen.keys()]
            with ThreadPoolExecutor(4) as threads:
                found = threads.map(answers, ports, itertools.repeat(self.file))
                self.answers |= dict(zip(ports, map(dict, found), strict=True))
            self.seen = now | self.seen
            if not self.drivers and "gcs_server" in now.values():
                self.start_drivers(next(a for a, name in now.items() if name == "gcs_server"))
            time.sleep(1)
        self.names = {port: name for (_, port), name in self.seen.items()}
        self.said = {name: driver.communicate()[0] for name, driver in self.drivers.items()}

    def start_drivers(self, address):
        self.gcs = address[1]
        token = (self.home / ".ray/auth_token").read_text()
        self.with_token = call(self.gcs, METHODS[1], token)
        self.with_another = call(self.gcs, METHODS[1], "0" * 64)
        modes = {
            "none": {"RAY_AUTH_MODE": "disabled"},
            "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "right": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
        }
        for name, mode in modes.items():
            file = self.by_owner if name == "right" else self.file
            environment = self.environment | mode
            self.drivers[name] = drive(f"127.0.0.1:{self.gcs}", file, environment)


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return Probed(tmp_path_factory.mktemp("probed"))


def test_the_run_is_not_disturbed(probed):
    assert probed.status == 0, probed.output[-3000:]


def test_the_token_is_made_and_closed(probed):
    file = probed.home / ".ray/auth_token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() not in probed.output


def test_all_processes_were_seen(probed):
    names = set(probed.seen.values())
    assert {
        "gcs_server",
        "raylet",
        "ray::RayTrainWorker",
        "ray::MapWorker(MapBatches(GenerationActor))",
    } <= {name.partition(".")[0] for name in names}


def test_nothing_listens_for_other_machines(probed):
    addresses = [ipaddress.ip_address(host) for host, _ in probed.seen]
    mapped = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    assert all(address.is_loopback for address in mapped), probed.seen


def test_no_job_is_accepted(probed):
    statuses = [
        s for found in probed.answers.values() for s in found.values() if isinstance(s, int)
    ]
    assert min(statuses) >= 400, probed.answers
    assert 401 in statuses


def test_no_call_is_accepted(probed):
    """A server doesn't know a method, or refuses the call; other ports don't speak gRPC at all."""
    refused = set()
    for port, found in probed.answers.items():
        codes = {code for code in found.values() if isinstance(code, StatusCode)}
        if not codes & set(NO_SERVER):
            assert codes <= {StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED}, (port, found)
        if StatusCode.UNAUTHENTICATED in codes:
            refused.add(probed.names[port].partition("::")[0])
    assert {"gcs_server", "raylet", "ray"} <= refused
    assert probed.with_another == StatusCode.UNAUTHENTICATED
    assert probed.with_token == StatusCode.OK


@pytest.mark.parametrize("token", ["none", "wrong"])
def test_a_foreign_driver_is_refused(probed, token):
    assert probed.drivers[token].returncode != 0
    assert "ConnectionError" in probed.said[token]


def test_no_program_of_a_stranger_ran(probed):
    assert not probed.file.exists()
    assert probed.by_owner.exists(), probed.said["right"]
