"""Compare the storages of two runs of one config: every table, row by row, and the student."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.kills import artifacts


def differences(untouched: Path, other: Path) -> list[str]:
    """Return what differs in the artifacts that are finished in ``other``.

    Compared are the names of the files, every table row by row, and every tensor file byte by byte.
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
        # as texts, because a step that was not trained has a loss of NaN, which equals no other
        rows = [repr(pq.read_table(path).to_pylist()) for path in (first, second)]
        return rows[0] == rows[1]
    if first.suffix == ".safetensors":
        return first.read_bytes() == second.read_bytes()
    return True  # manifests and logs hold times and versions
