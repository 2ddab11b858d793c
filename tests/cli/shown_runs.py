"""What ``kpod show`` prints of a run, and what lies in a run's folder."""

import pytest

from kpod_ray.cli.main import main


def shown(capsys, *arguments):
    """Run ``kpod show``; return what it prints."""
    with pytest.raises(SystemExit) as ended:
        main(["show", *map(str, arguments)])
    assert not ended.value.code
    return capsys.readouterr().out


def snapshot(folder):
    """Return every path below a folder with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
