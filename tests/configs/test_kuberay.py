import copy
import importlib.metadata

import pytest
import yaml

from tests.configs.manifests import problems
from tests.conftest import REPOSITORY

CLUSTER = REPOSITORY / "configs" / "cluster"


def manifest(name):
    return yaml.safe_load((CLUSTER / name).read_text())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rayjob.yaml", "RayJob"),
        ("raycluster.yaml", "RayCluster"),
        ("storage.yaml", "k8s:V1PersistentVolumeClaim"),
    ],
)
def test_every_field_is_known_and_has_its_type(name, kind):
    assert problems(manifest(name), kind, name) == []


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("entryPoint",), "x", "unknown field"),
        (("backoffLimit",), "2", "another type"),
        (("submissionMode",), "K8sMode", "not one of"),
        (("rayClusterSpec", "authOptions", "mode"), "tokens", "not one of"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "labels"), {"group": 1}, "another type"),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "another type"),
        (("rayClusterSpec", "headGroupSpec", "template", "spec", "image"), "x", "unknown field"),
    ],
)
def test_a_wrong_field_is_found(path, value, told):
    wrong = copy.deepcopy(manifest("rayjob.yaml"))
    node = wrong["spec"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    (line,) = problems(wrong, "RayJob", "rayjob.yaml")
    assert told in line
    assert str(path[-1]) in line or "labels" in line or "rayStartParams" in line


def test_the_job_runs_on_the_cluster_that_stands_alone():
    assert manifest("rayjob.yaml")["spec"]["rayClusterSpec"] == manifest("raycluster.yaml")["spec"]


def test_the_cluster_runs_the_ray_that_is_locked():
    spec = manifest("raycluster.yaml")["spec"]
    assert spec["rayVersion"] == importlib.metadata.version("ray")
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def containers():
    spec = manifest("raycluster.yaml")["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        yield from group["template"]["spec"]["containers"]


def test_keys_come_from_secrets_alone():
    names = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"}
    for container in containers():
        keys = [v for v in container["env"] if v["name"] in names | {"WANDB_API_KEY"}]
        assert names <= {variable["name"] for variable in keys}
        assert all("secretKeyRef" in variable["valueFrom"] for variable in keys)


def test_requests_are_limits_and_volumes_are_there():
    for container in containers():
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert [mount["name"] for mount in container["volumeMounts"]] == ["kpod"]
