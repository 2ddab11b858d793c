"""SIGTERM to a training worker: the workers save after the current update, and others go on."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.training.training_runs import TWO, assert_same_way, train, training_processes

MOST_SECONDS = 20


def seconds_to_end(pid):
    """Send SIGTERM to a process; return the seconds until the process has ended."""
    process, before = psutil.Process(pid), time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    return time.monotonic() - before


@pytest.mark.parametrize("step", [1, 2])  # inside a stage, and the last of a stage
def test_a_worker_that_gets_sigterm_leaves_in_time_and_no_update_is_lost(
    alone, training_inputs, step
):
    ends, seen = [], []

    def terminate_once(metrics):
        seen.append(metrics["train_step"])
        if metrics["train_step"] == step and not ends:
            ends.append(threads.submit(seconds_to_end, training_processes()[-1]))

    with ThreadPoolExecutor() as threads:
        label = f"terminated {step}"
        training = train(training_inputs, label, terminate_once, resources=TWO)
        seconds = ends[0].result()
    assert seconds < MOST_SECONDS
    assert [row["train_step"] for row in training[1]] == [1, 2, 3, 4, 5, 6]
    assert seen == [1, 2, 3, 4, 5, 6]
    assert_same_way(training, alone)
