import pytest

from kpod_ray.cluster.capacity import (
    Node,
    check_resources,
    missing_capacity,
    phases_of,
    request_text,
)
from kpod_ray.config import ActorResources, StudentWorkerResources, load
from kpod_ray.errors import KpodError
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def node(cpus, gpus=0, accelerator=None, **labels):
    resources = {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}
    if accelerator:
        resources[f"accelerator_type:{accelerator}"] = 1
    return Node(resources, {"ray.io/node-id": "a1", **labels})


TEACHERS = [node(32, 8, "A100", group="teacher") for _ in range(2)]
STUDENTS = [node(16, 4, "L4", group="student") for _ in range(3)]
CLUSTER = [node(0), *TEACHERS, *STUDENTS]


@pytest.mark.parametrize(
    "request_",
    [
        ActorResources(num_actors=2, num_gpus=8, accelerator_type="A100"),
        ActorResources(num_actors=2, num_gpus=8, num_cpus=31, labels={"group": "teacher"}),
        StudentWorkerResources(num_workers=12, num_gpus=1, labels={"group": "student"}),
        StudentWorkerResources(num_workers=28, num_gpus=1),
        StudentWorkerResources(num_workers=99, min_workers=12, num_gpus=1, accelerator_type="L4"),
    ],
)
def test_what_fits_is_let_through(request_):
    assert missing_capacity("train", request_, CLUSTER) is None


def test_an_unknown_accelerator_is_named_beside_those_there_are():
    told = missing_capacity("teacher", ActorResources(num_gpus=1, accelerator_type="H900"), CLUSTER)
    assert told == (
        "resources.teacher.accelerator_type: unknown accelerator H900; the cluster has A100, L4"
    )
    told = missing_capacity("teacher", ActorResources(accelerator_type="A100"), [node(4)])
    assert told.endswith("the cluster has none")


def test_a_label_that_no_node_has_is_named_beside_those_there_are():
    told = missing_capacity("teacher", ActorResources(labels={"group": "teachr"}), CLUSTER)
    assert told == (
        "resources.teacher.labels: no node has group=teachr; the cluster has group=student, "
        "group=teacher"
    )
    told = missing_capacity("teacher", ActorResources(labels={"group": "teacher"}), [node(4)])
    assert "none (ray start --labels" in told


def test_the_accelerator_of_another_group_is_said_so():
    request = ActorResources(accelerator_type="A100", labels={"group": "student"})
    assert missing_capacity("teacher", request, CLUSTER) == (
        "resources.teacher: no node with group=student has accelerator A100; they have L4"
    )


def test_an_actor_that_is_larger_than_every_node_is_said_so():
    four = [node(4) for _ in range(10)]
    assert missing_capacity("assess", ActorResources(num_cpus=8), four) == (
        "resources.assess: an actor needs 8 CPUs on one node, the largest node has 4 CPUs; ask for "
        "less or add larger nodes"
    )
    request = StudentWorkerResources(num_gpus=8, labels={"group": "student"})
    assert missing_capacity("train", request, CLUSTER) == (
        "resources.train: a worker needs 1 CPU and 8 GPUs on one node, the largest node with "
        "group=student has 16 CPUs and 4 GPUs; ask for less or add larger nodes"
    )


def test_a_node_of_many_cpus_and_one_of_many_gpus_do_not_add_up():
    nodes = [node(64, 1), node(8, 8)]
    assert "on one node" in missing_capacity(
        "teacher", ActorResources(num_cpus=16, num_gpus=4), nodes
    )


def test_processes_are_not_split_between_nodes():
    request = StudentWorkerResources(num_workers=6, num_gpus=3, accelerator_type="L4")
    assert missing_capacity("train", request, CLUSTER) == (  # 12 GPUs, but 4 a node
        "resources.train needs 6 times 1 CPU and 3 GPUs, the cluster has room for 3 of them with "
        "accelerator L4; ask for less or add nodes"
    )


def test_reading_and_writing_need_a_cpu_besides_the_actors():
    assert "2 CPUs, one of them to read and write" in missing_capacity(
        "assess", ActorResources(), [node(1)]
    )
    assert missing_capacity("train", StudentWorkerResources(num_workers=1), [node(1)]) is None


def test_parts_of_a_cpu_add_up():
    assert (
        missing_capacity("train", StudentWorkerResources(num_workers=10, num_cpus=0.1), [node(1)])
        is None
    )


def test_only_the_phases_that_run_are_looked_at():
    config = load(SMOKE, ["teacher={kind: reference}", "weighting=null"])
    assert phases_of(config, ["teacher", "weigh", "assess", "plan"]) == ["assess"]
    config = load(SMOKE)
    artifacts = ["teacher", "weigh", "evaluate_before", "evaluate"]
    assert phases_of(config, artifacts) == ["teacher", "weighting", "apply_weighter", "evaluate"]


@pytest.mark.parametrize("weighting", ["{kind: hand}", "{kind: file, path: w}", "null"])
def test_weights_that_are_not_learned_take_nothing_from_the_cluster(weighting):
    assert phases_of(load(SMOKE, [f"weighting={weighting}"]), ["weigh", "assess"]) == ["assess"]


def test_a_cluster_that_grows_is_warned_about(ray_cluster, caplog):
    needs = ["resources.train.labels={group: student}", "resources.train.num_workers=1"]
    with pytest.raises(KpodError, match=r"resources\.train\.labels"):
        check_resources(load(SMOKE, needs), ["train"])
    check_resources(load(SMOKE, needs), ["assess", "evaluate"])
    check_resources(load(SMOKE, [*needs, "resources.autoscaling=true"]), ["train"])
    assert "waiting until the cluster grows" in caplog.text


def test_sizes_are_spelt_out():
    request = ActorResources(num_actors=2, num_gpus=8, labels={"group": "teacher"})
    assert request_text(request) == "2 actors of 1 CPU and 8 GPUs with group=teacher"
    assert request_text(StudentWorkerResources(num_workers=1)) == "1 worker of 1 CPU"
