"""The lock files hold hashes, and everything installs with them."""

import re

import pytest
import yaml

from tests.conftest import REPOSITORY

PIN = re.compile(r"([a-z0-9._-]+)==([a-z0-9.]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
LOCKS = ("cpu.txt", "gpu.txt")


def lock(name):
    return (REPOSITORY / "requirements" / name).read_text()


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_hashes_and_nothing_else_is_in_a_lock(name):
    text = lock(name)
    pins = PIN.findall(text)
    assert PIN.sub("", text).splitlines() == [
        line for line in text.splitlines() if line.startswith("#")
    ]
    assert len(pins) > 200
    assert len({package for package, *_ in pins}) == len(pins)


def test_the_torch_of_the_cpu_lock_is_no_build_of_the_gpu_lock():
    """On Linux x86-64 PyPI's torch needs CUDA, which isn't in the lock for CPUs."""
    torch = {
        name: set(
            re.findall(
                r"sha256:(\w+)", dict((p, h) for p, _, h in PIN.findall(lock(name)))["torch"]
            )
        )
        for name in LOCKS
    }
    shared = torch["cpu.txt"] & torch["gpu.txt"]
    assert len(torch["cpu.txt"]) == 9
    assert len(shared) == 3  # macOS, where PyPI's builds are without CUDA


def test_everything_that_installs_a_lock_requires_hashes():
    for path in ("Makefile", "configs/cluster/Dockerfile"):
        lines = (REPOSITORY / path).read_text().splitlines()
        installs = [line for line in lines if "pip install" in line and " -r " in line]
        assert installs
        assert all("--require-hashes" in line for line in installs)


def test_no_page_recommends_another_index():
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")]
    pages += [REPOSITORY / "configs/cluster/Dockerfile", REPOSITORY / ".github/workflows/ci.yml"]
    for page in pages:
        text = page.read_text().replace("`PIP_EXTRA_INDEX_URL`.\n- W&B", "")  # of the changelog
        assert not re.search("extra.index.url", text, re.IGNORECASE), page


def test_the_actions_of_the_workflow_are_pinned_by_commit():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    used = [s["uses"] for job in workflow["jobs"].values() for s in job["steps"] if "uses" in s]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) for name in used)
