"""``kpod doctor``: which of its parts examine what it is given. Other modules load when needed."""

from __future__ import annotations

from collections.abc import Sequence

from kpod_ray.cli.terminal import Terminal


def examine(place: str | None, overrides: Sequence[str], console: Terminal) -> bool:
    """Print the state of this machine, a config's needs and a run's files; return whether all is good.

    Args:
        place: YAML file of settings, whose needs and files are examined beside the machine; folder of a
            run, of which only the files are; or None for the machine alone.
        overrides: settings that change those of the YAML file.
        console: where to print.

    Raises:
        KpodError: The settings are wrong, or the folder holds no run.
    """
    from kpod_ray.pipeline.lookup import is_run_folder

    if place is not None and is_run_folder(place):
        return _examine_files(place, overrides, console)
    return _examine_machine(place, overrides, console)


def _examine_machine(config: str | None, overrides: Sequence[str], console: Terminal) -> bool:
    """Examine this machine and, with a config, its needs and the files of its run."""
    from kpod_ray.cli.doctor import CONFIG, Finding, machine, print_findings
    from kpod_ray.config import load

    loaded = load(config, overrides) if config else None
    findings, expected = machine(), None
    if loaded is not None:
        from kpod_ray.cli.hub import hub_line

        if line := hub_line(loaded):
            findings.append(Finding("hub", line))
        from kpod_ray.cli.doctor_config import needs_of  # loads Ray

        needs = needs_of(loaded)
        findings += needs.findings
        expected = needs.forecast
    print_findings(findings, console)
    if expected is not None:
        from kpod_ray.cli.forecast import print_forecast

        print_forecast(expected, console)
    is_good = all(finding.is_good for finding in findings)
    if config is None or any(f.subject == CONFIG and not f.is_good for f in findings):
        return is_good
    return _examine_files(config, overrides, console) and is_good


def _examine_files(place: str, overrides: Sequence[str], console: Terminal) -> bool:
    from kpod_ray.cli.doctor_run import print_files
    from kpod_ray.pipeline.lookup import find_run

    return print_files(find_run(place, overrides), console)
