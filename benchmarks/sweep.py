"""Measure what a sweep shares and what early stopping saves: ``python -m benchmarks.sweep``.

``configs/sweep-smoke.yaml`` (tiny students, ``--num-trials`` 16) runs in a storage of its own. Then the
best settings run alone in a second storage, which must lead to the same objective.

The benchmark prints the seconds of the sweep, the number of finished, stopped and failed trials, the
share of stages that early stopping saved, how many artifacts of each shared phase were made (separate
runs would make one per trial), and the best objective of both storages. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from kpod_ray.cli.sweep_progress import sweep_with_progress
from kpod_ray.cli.terminal import Terminal
from kpod_ray.config import load
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import QUIET, run_phases
from kpod_ray.pipeline.versions import versions
from kpod_ray.report.sweep.data import FAILED, FINISHED, STOPPED, SweepTrial, saved_fraction
from kpod_ray.sweep.trial import SHARED_PHASES, score_of

CONFIG = Path(__file__).parents[1] / "configs" / "sweep-smoke.yaml"


def measure(folder: Path, num_trials: int) -> dict[str, float]:
    """Run the sweep in a folder; return its figures."""
    config = load(CONFIG, [f"storage={folder}/sweep", f"sweep.num_trials={num_trials}"])
    started = time.perf_counter()
    sweep_with_progress(open_run(config), Terminal(file=io.StringIO()))
    figures = {"seconds": time.perf_counter() - started}
    run_folder = folder / "sweep" / "runs" / config.name
    rows = json.loads((run_folder / "trials.json").read_text())
    trials = [SweepTrial(**{**row, "curve": tuple(map(tuple, row["curve"]))}) for row in rows]
    for state in (FINISHED, STOPPED, FAILED):
        figures[state] = sum(trial.state == state for trial in trials)
    figures["saved_share_of_stages"] = saved_fraction(trials)
    for phase in SHARED_PHASES:
        figures[f"{phase}_made"] = len(list((folder / "sweep" / phase).glob("*/manifest.json")))
    figures["plans_asked_for"] = num_trials
    best = load(run_folder / "best.yaml")
    again = open_run(best.override({"storage": f"{folder}/again"}))
    run_phases(again, "train", QUIET)
    figures["best_objective"] = score_of(open_run(best))
    figures["best_objective_again"] = score_of(again)
    return figures


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-trials", type=int, default=16)
    num_trials = parser.parse_args().num_trials
    with tempfile.TemporaryDirectory() as name:
        figures = {key: round(value, 6) for key, value in measure(Path(name), num_trials).items()}
    for key, value in figures.items():
        print(f"{key}: {value:g}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    result = {"benchmark": "sweep", "machine": machine, "versions": versions(), "figures": figures}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
