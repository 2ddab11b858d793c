"""SIGTERM to a training worker: the workers save after the current update, and others go on."""

import os
import signal
import time

import psutil
import pytest

from tests.training.training_runs import TWO, assert_same_way, train, training_processes

MOST_SECONDS = 20


@pytest.mark.parametrize("step", [1, 2, 5])  # inside a stage, the last of a stage, the last but one
def test_a_worker_that_gets_sigterm_leaves_in_time_and_no_update_is_lost(
    alone, training_inputs, step, record_property
):
    terminated, seen = [], []

    def terminate_once(metrics):
        seen.append(metrics["train_step"])
        if metrics["train_step"] == step and not terminated:
            pid = training_processes()[-1]
            terminated.append((psutil.Process(pid), time.monotonic()))
            os.kill(pid, signal.SIGTERM)

    label = f"terminated {step}"
    training = train(training_inputs, label, terminate_once, resources=TWO)
    ((process, when),) = terminated
    assert not process.is_running()
    assert [row["train_step"] for row in training[1]] == [1, 2, 3, 4, 5, 6]
    assert len(seen) == len(set(seen)) == 6
    assert_same_way(training, alone)
