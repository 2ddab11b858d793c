"""Plan 20 stages for 100 k and 1 M questions: ``python -m benchmarks.plan``.

Step counts are 1 to 11 a question, difficulties lognormal, five clusters. The last line is one JSON
object.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import resource
import statistics
import time

import numpy as np

from kpod_ray.algorithm.schedule import ScheduleSettings, plan_stages
from kpod_ray.algorithm.selection import select_by_merge
from kpod_ray.config import ScheduleConfig

REPEATS = 3


def seconds(num_questions: int, config: ScheduleConfig) -> float:
    """Return the median time of planning so many questions."""
    generator = np.random.default_rng(0)
    num_steps = generator.integers(1, 12, num_questions)
    difficulties = generator.lognormal(-0.4, 0.6, int(num_steps.sum()))
    clusters = generator.integers(0, config.num_clusters, num_questions)
    solver = functools.partial(select_by_merge, diversity_weight=config.diversity_weight)
    settings = ScheduleSettings(
        num_stages=config.num_stages,
        full_stage=config.num_stages,
        growth=config.growth,
        initial_share=config.initial_share,
        step_size=config.step_size,
        solver=solver,
    )
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        plan_stages(difficulties, num_steps, clusters, settings)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Run the measurement and print it."""
    config = ScheduleConfig(num_stages=20)
    small, large = seconds(100_000, config), seconds(1_000_000, config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {
        "seconds_100k": round(small, 3),
        "seconds_1m": round(large, 3),
        "growth": round(large / small, 1),
        "peak_gib": round(peak, 2),
    }
    for key, value in figures.items():
        print(f"{key}: {value}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "plan", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
