"""Compare the files of a run with the checksums in its manifests: ``kpod doctor RUN``."""

from __future__ import annotations

from rich.console import Console

from kpod_ray.cli.show_run import FINISHED, state_of
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.report.formatting import visible
from kpod_ray.storage.artifacts import FOREIGN, Artifact
from kpod_ray.storage.checksums import UNREADABLE


def print_files(run: FinishedRun, console: Console) -> bool:
    """Print every artifact of a run with its files and their faults; return whether all are whole.

    All files of the finished artifacts are read. Artifacts that aren't finished have no files yet that
    could be compared, and count as whole.

    Raises:
        KpodError: The storage can't be read.
    """
    are_whole = True
    for name, artifact in run.artifacts.items():
        state = state_of(artifact)
        lines = [f"{state:<8} {name}"]
        if state == FINISHED:
            is_whole, lines = _file_lines(name, artifact)
            are_whole &= is_whole
        for line in lines:
            console.print(visible(line), markup=False, highlight=False, soft_wrap=True)
    return are_whole


def _file_lines(name: str, artifact: Artifact) -> tuple[bool, list[str]]:
    """Return whether a finished artifact is whole, and lines about the artifact and its files."""
    folder = artifact.store.address(artifact.folder)
    try:
        files = artifact.files()
        foreign = dict.fromkeys(artifact.foreign_files(), FOREIGN)
        damage = artifact.faults()
    except KpodError as error:
        return False, [f"damaged  {name}: {folder}", f"    {error}"]
    faults = {**damage, **foreign}
    lines = [f"{'damaged' if faults else 'whole':<8} {name}: {folder}"]
    for file, file_sum in files.items():
        size = f"{file_sum['bytes']:,} bytes"
        lines.append(f"    {file}: {faults.get(file, size)}")
    lines += [f"    {file}: {FOREIGN}; delete the file" for file in foreign]
    if any(not fault.startswith(UNREADABLE) for fault in damage.values()):
        lines.append(f"    delete the folder {folder}, and kpod run makes it again")
    return not faults, lines
