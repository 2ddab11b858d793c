"""Compare the storages of two runs of one config: every table, row by row, and the student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.kills import artifacts

ROUNDING = 1e-5
"""Largest relative difference of equal numbers."""


def differences(untouched: Path, other: Path) -> list[str]:
    """Return what differs in the artifacts that are finished in ``other``.

    Compared are the names of the files, every table row by row, and every tensor file byte by byte.
    Numbers may differ by rounding: the order of sums depends on the requests that vLLM has at a time.
    """
    found = []
    for name, folder in artifacts(other).items():
        source = untouched / folder.relative_to(other)
        if not (folder / "manifest.json").exists():
            continue
        names = [_file_names(path) for path in (source, folder)]
        found += [f"{name}/{path} is there once" for path in sorted(names[0] ^ names[1])]
        for path in sorted(names[0] & names[1]):
            if not _is_same(source / path, folder / path):
                found.append(f"{name}/{path}")
    return found


def _file_names(folder: Path) -> set[Path]:
    """Return the files in a folder, but not what a killed writer has left."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp")
    return {path.relative_to(folder) for path in files}


def _is_same(first: Path, second: Path) -> bool:
    if first.suffix == ".parquet":
        tables = [pq.read_table(path) for path in (first, second)]
        return tables[0].schema == tables[1].schema and _is_close(*(t.to_pylist() for t in tables))
    if first.suffix == ".safetensors":
        return first.read_bytes() == second.read_bytes()
    return True  # manifests and logs hold times and versions


def _is_close(first: Any, second: Any) -> bool:
    """Return whether nested lists and mappings are equal, numbers up to `ROUNDING`, NaN to NaN."""
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(_is_close(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_is_close, first, second))
    if isinstance(first, float) and isinstance(second, float):
        both_nan = math.isnan(first) and math.isnan(second)
        return both_nan or math.isclose(first, second, rel_tol=ROUNDING)
    return bool(first == second)
