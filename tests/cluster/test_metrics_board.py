import ray

from kpod_ray.cluster.metrics_board import watched


def test_everything_posted_reaches_the_watcher_in_order_and_once(ray_cluster):
    seen = []
    with watched(seen.append) as board:
        ray.get([board.post.remote({"train_step": i}) for i in range(50)])
    assert seen == [{"train_step": i} for i in range(50)]


def test_a_post_just_before_the_end_is_not_lost(ray_cluster):
    seen = []
    with watched(seen.append) as board:
        board.post.remote({"train_step": 1})
        ray.get(board.since.remote(0))
    assert seen == [{"train_step": 1}]
