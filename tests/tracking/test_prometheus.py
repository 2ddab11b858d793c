import json
import re
import time

import httpx
import ray

from kpod_ray.tracking.prometheus import OTHERS, TRAINING, Gauges
from tests.conftest import REPOSITORY

DASHBOARD = REPOSITORY / "configs" / "cluster" / "grafana.json"


def exported(wanted):
    """Return what the node exports for Prometheus, once all that is wanted is there."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = httpx.get(url).text
        if all(name in text for name in wanted):
            return text
        time.sleep(1)
    raise AssertionError(f"not all of {wanted} were exported")


def value_of(text, name, phase):
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith(f"ray_kpod_{name}{{")
        and 'run="gauged"' in line
        and f'phase="{phase}"' in line
    ]
    return float(line.rpartition(" ")[2])


def test_what_a_run_tells_is_exported(ray_cluster):
    gauges = Gauges("gauged")
    gauges.train_step("train", {"stage": 3, "tokens_per_s": 170.5, "of no interest": 1})
    gauges.rows("teacher", 30, 100)
    gauges.finish("teacher", {"counts": {"samples": 8}, "verdicts": {"kept": 6}})
    gauges.finish("evaluate", {"counts": {}, "accuracy": {"value": 0.25}})
    text = exported(["ray_kpod_stage", "ray_kpod_accuracy", "ray_kpod_texts_waiting"])
    assert value_of(text, "stage", "train") == 3
    assert value_of(text, "tokens_per_s", "train") == 170.5
    assert value_of(text, "texts_done", "teacher") == 30
    assert value_of(text, "texts_waiting", "teacher") == 70
    assert value_of(text, "kept_samples_fraction", "teacher") == 0.75
    assert value_of(text, "accuracy", "evaluate") == 0.25


def test_the_dashboard_draws_every_gauge_and_none_that_there_is_not():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    text = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    assert set(re.findall(r"ray_kpod_(\w+)", text)) == {*TRAINING, *OTHERS}
