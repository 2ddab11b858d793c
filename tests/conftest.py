"""What all tests share: one local Ray a session, the tiny model, and the folder of real data."""

import gc
import os
import secrets
import subprocess
from pathlib import Path

# Every Ray of the tests requires a token, which the programs that tests start inherit.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["RAY_ADDRESS"] = "local"
os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.5"
# A machine that stalls is no dead node.
os.environ |= {
    "RAY_health_check_failure_threshold": "20",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
}
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_SILENT"] = "true"

import pytest

# Modules and collected tests, millions of objects, live to the end of the session: the garbage collector
# would visit them again and again, a fifth of the time of all imports.
gc.set_threshold(100_000, 50, 50)

pytest_plugins = [
    "tests.fixtures.ray_marker",
    "tests.fixtures.tokenizers",
    "tests.fixtures.examples",
    "tests.fixtures.trainings",
    "tests.fixtures.finished_run",
]

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
"""Real questions and rationales, which are not part of the repository."""


def pytest_collection_finish():
    """Let the garbage collector pass over everything that exists before the first test."""
    gc.freeze()


@pytest.fixture(scope="session")
def ray_cluster():
    import ray

    from kpod_ray.cluster.connection import connect
    from kpod_ray.config import ResourcesConfig

    connect(ResourcesConfig(local_cpus=6, object_store_gib=0.4))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_folder():
    from kpod_ray.models.sources import model_folder

    return model_folder("tiny:0")


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_folder):
    from kpod_ray.models.student import load_tokenizer

    return load_tokenizer(tiny_folder)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB, where this machine lets us have one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
