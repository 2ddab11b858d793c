"""Command lines that are refused with one line."""

import pytest

from kpod_ray.cli.main import main


def refused(capsys, *arguments):
    """Run the command line; return its one line about what is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    lines = capsys.readouterr().err.strip().splitlines()
    assert caught.value.code == 2
    assert len(lines) == 1
    assert lines[0].startswith("kpod: ")
    return lines[0]
