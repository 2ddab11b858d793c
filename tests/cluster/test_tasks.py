import os
import time

import pytest

from kpod_ray.cluster.tasks import run_tasks
from tests.cluster.own_process import run_in_own_process


def slept(seconds):
    time.sleep(seconds)
    return seconds


def spanned(seconds):
    started = time.time()
    time.sleep(seconds)
    return started, time.time()


def failing(path):
    with open(path, "a") as file:
        file.write("x")
    raise OSError("disk gone")


def test_results_come_with_the_index_of_their_argument(ray_cluster):
    assert dict(run_tasks(slept, [0.3, 0.0, 0.1], 3)) == {0: 0.3, 1: 0.0, 2: 0.1}


def test_no_more_than_so_many_run_at_the_same_time(ray_cluster):
    spans = [span for _, span in run_tasks(spanned, [0.2] * 5, 2)]
    most = max(sum(start <= at < end for start, end in spans) for at, _ in spans)
    assert most <= 2


def test_a_failure_reaches_the_caller_and_stops_the_rest(ray_cluster, tmp_path):
    path = tmp_path / "ran"
    with pytest.raises(OSError, match="disk gone"):
        list(run_tasks(failing, [str(path)] * 4, 1))
    assert os.path.getsize(path) == 1


def write_forever(path):
    while True:
        with open(path, "a") as file:
            file.write("x")
        time.sleep(0.05)


def write_forever_beside_another(task):
    """Run one of two calls: the other one ends as soon as this one writes."""
    kind, path = task
    if kind == "endless":
        write_forever(path)
    while not os.path.exists(path):
        time.sleep(0.05)
    if kind == "fails":
        raise OSError("disk gone")


def wait_until_it_stops_growing(path):
    deadline, size = time.time() + 30, -1
    while os.path.getsize(path) > size:
        assert time.time() < deadline, "the call goes on"
        size = os.path.getsize(path)
        time.sleep(0.5)


def test_a_failure_ends_the_calls_under_way(ray_cluster, tmp_path):
    path = str(tmp_path / "growing")
    tasks = [("endless", path), ("fails", path)]
    with pytest.raises(OSError, match="disk gone"):
        list(run_tasks(write_forever_beside_another, tasks, 2))
    wait_until_it_stops_growing(path)


def test_a_caller_that_stops_early_ends_the_calls_under_way(ray_cluster, tmp_path):
    path = str(tmp_path / "growing")
    calls = run_tasks(write_forever_beside_another, [("endless", path), ("returns", path)], 2)
    assert next(calls) == (1, None)
    calls.close()
    wait_until_it_stops_growing(path)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_call_gives_back_what_its_training_had_taken(tmp_path):
    found = run_in_own_process("killed_fit", tmp_path)
    assert found == {"while training": "OSError: 2 CPUs were free", "afterwards": 4}


def test_nothing_to_do_is_no_error(ray_cluster):
    assert list(run_tasks(slept, [], 2)) == []
