"""Compare the files of a run with the checksums in its manifests: ``kpod doctor RUN``."""

from __future__ import annotations

from kpod_ray.cli.show_run import FINISHED, MISSING, state_of
from kpod_ray.cli.terminal import Terminal
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.storage.artifacts import FOREIGN, Artifact
from kpod_ray.storage.checksums import UNREADABLE


def print_files(run: FinishedRun, console: Terminal) -> bool:
    """Print the artifacts of a run with their files and faults; return whether all are whole.

    All files of the finished artifacts are read. An artifact that is begun has no files yet that could
    be compared; one that isn't is left out.
    """
    are_whole = True
    for name, artifact in run.artifacts.items():
        try:
            is_whole, lines = _file_lines(name, artifact)
        except KpodError as error:
            is_whole, lines = False, [f"damaged  {name}: {_folder(artifact)}", f"    {error}"]
        are_whole &= is_whole
        for line in lines:
            console.write_line(line)
    return are_whole


def _file_lines(name: str, artifact: Artifact) -> tuple[bool, list[str]]:
    """Return whether an artifact is whole, and lines about the artifact and its files.

    Raises:
        KpodError: The manifest is damaged, or the folder can't be read.
    """
    state = state_of(artifact)
    if state != FINISHED:
        return True, [] if state == MISSING else [f"{state:<8} {name}"]
    files = artifact.files()
    foreign = dict.fromkeys(artifact.foreign_files(), FOREIGN)
    damage = artifact.faults()
    word = "damaged" if damage or foreign else "whole"
    lines = [f"{word:<8} {name}: {_folder(artifact)}"]
    for file, file_sum in files.items():
        size = f"{file_sum['bytes']:,} bytes"
        lines.append(f"    {file}: {damage.get(file, size)}")
    lines += [f"    {file}: {fault}; delete the file" for file, fault in foreign.items()]
    if any(not fault.startswith(UNREADABLE) for fault in damage.values()):
        lines.append(f"    delete the folder {_folder(artifact)}, and kpod run makes it again")
    return not (damage or foreign), lines


def _folder(artifact: Artifact) -> str:
    return artifact.store.address(artifact.folder)
