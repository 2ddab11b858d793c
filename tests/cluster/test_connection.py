from kpod_ray.cluster.placement import threads_of
from kpod_ray.config import ResourcesConfig, WorkerResources


def test_threads_are_what_is_set_or_a_share_of_the_cores():
    assert threads_of(WorkerResources(num_threads=3)) == 3
    assert threads_of(WorkerResources(num_workers=10_000)) == 1
    assert threads_of(ResourcesConfig().train) >= 1
