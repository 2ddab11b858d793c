"""Sizes and SHA-256 checksums, by which a lost or changed file of an artifact is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pyarrow.fs as pafs

from kpod_ray.storage.filesystems import reason

UNREADABLE = "can't be read"
"""First words of the fault of a file that can't be read, which need not be damaged."""
_BLOCK_BYTES = 1 << 24  # one read, which in an object store is one request
_THREADS = 4  # files that are hashed at a time; hashing releases the GIL


class FileSum(TypedDict):
    """Size and checksum of a file, as a manifest holds them."""

    bytes: int
    sha256: str
    """64 hexadecimal digits."""


def are_sums(value: object) -> bool:
    """Return whether a JSON value is what `file_sums` returns."""
    return isinstance(value, dict) and all(
        isinstance(each, dict)
        and isinstance(each.get("bytes"), int)
        and isinstance(each.get("sha256"), str)
        for each in value.values()
    )


def file_names(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """Return the sorted paths, relative to a folder, of all files at any depth below the folder."""
    selector = pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    infos = filesystem.get_file_info(selector)
    paths = (info.path for info in infos if info.type == pafs.FileType.File)
    return sorted(path.removeprefix(f"{folder}/") for path in paths)


def file_sums(filesystem: pafs.FileSystem, folder: str, names: Iterable[str]) -> dict[str, FileSum]:
    """Read the named files of a folder, and return name -> size and checksum."""

    def sum_of(name: str) -> tuple[str, FileSum]:
        """Return the name of a file, and its size and checksum."""
        size, digest = _hashed(filesystem, f"{folder}/{name}")
        return name, {"bytes": size, "sha256": digest}

    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(threads.map(sum_of, names))


def faults(
    filesystem: pafs.FileSystem,
    folder: str,
    files: Mapping[str, FileSum],
    read: Collection[str],
) -> Iterator[tuple[str, str]]:
    """Yield the name and the fault of each file that isn't as it was written.

    A fault is a phrase to stand behind the file's name, such as ``is missing``.

    Args:
        filesystem: file system of the folder.
        folder: folder of the files.
        files: name -> size and checksum of all files.
        read: names of the files whose content is read and compared; of the others only the size is.
    """
    infos = filesystem.get_file_info([f"{folder}/{name}" for name in files])

    def fault(name: str, info: pafs.FileInfo) -> str | None:
        """Return the fault of one file; None if the file is as it was written."""
        found = _size_fault(info, files[name]["bytes"])
        return found or (
            _content_fault(filesystem, info.path, files[name]["sha256"]) if name in read else None
        )

    with ThreadPoolExecutor(_THREADS) as threads:
        for name, found in zip(files, threads.map(fault, files, infos), strict=True):
            if found is not None:
                yield name, found


def _size_fault(info: pafs.FileInfo, size: int) -> str | None:
    if info.type == pafs.FileType.NotFound:
        return "is missing"
    if info.type != pafs.FileType.File:
        return "isn't a file"
    return None if info.size == size else f"has {info.size:,} bytes instead of {size:,}"


def _content_fault(filesystem: pafs.FileSystem, path: str, digest: str) -> str | None:
    try:
        is_same = _hashed(filesystem, path)[1] == digest
    except OSError as error:
        return f"{UNREADABLE}: {reason(error)}"
    return None if is_same else "has another content than was written"


def sealed(content: Mapping[str, Any]) -> str:
    """Return a mapping of JSON values as JSON text that holds its own checksum as the last key."""
    digest = hashlib.sha256(_json(content).encode()).hexdigest()
    return _json({**content, "checksum": digest})


def unsealed(text: str) -> dict[str, Any]:
    """Return the mapping that `sealed` made a text of.

    Raises:
        ValueError: The text was changed, or never came from `sealed`.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:  # thousands of brackets
        raise ValueError("no manifest") from error
    if not isinstance(content, dict) or "checksum" not in content:
        raise ValueError("no checksum")
    content.pop("checksum")
    if sealed(content) != text:
        raise ValueError("another checksum")
    return content


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False)


def _hashed(filesystem: pafs.FileSystem, path: str) -> tuple[int, str]:
    """Return the size and the SHA-256 of a file."""
    size = 0
    digest = hashlib.sha256()
    with filesystem.open_input_stream(path) as stream:
        while block := stream.read(_BLOCK_BYTES):
            size += len(block)
            digest.update(block)
    return size, digest.hexdigest()
