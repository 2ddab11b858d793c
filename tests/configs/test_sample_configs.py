import json
import shlex
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from kpod_ray.cluster.capacity import Node, missing_capacity, phases_of
from kpod_ray.config import load
from kpod_ray.questions.further import load_further_set
from kpod_ray.questions.loading import load_questions
from tests.conftest import REPOSITORY, SHARED_DATA

CLUSTER = REPOSITORY / "configs" / "cluster"
ARTIFACTS = ("teacher", "weigh", "assess", "plan", "train", "evaluate")


def kuberay_nodes():
    """The nodes of raycluster.yaml when it has grown to its full size."""
    spec = yaml.safe_load((CLUSTER / "raycluster.yaml").read_text())["spec"]
    yield Node({"CPU": int(spec["headGroupSpec"]["rayStartParams"]["num-cpus"])}, {})
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        resources = {"CPU": int(limits["cpu"]), "GPU": int(limits["nvidia.com/gpu"])}
        yield from [Node(resources, group["labels"])] * group["maxReplicas"]


def aws_nodes():
    """The nodes of autoscaler.yaml when it has grown to its full size."""
    sizes = {"p4d.24xlarge": {"CPU": 96, "GPU": 8}, "g6.12xlarge": {"CPU": 48, "GPU": 4}}
    config = yaml.safe_load((CLUSTER / "autoscaler.yaml").read_text())
    for kind in config["available_node_types"].values():
        resources = sizes.get(kind["node_config"]["InstanceType"], {"CPU": 0})
        yield from [Node(resources, kind.get("labels", {}))] * kind["max_workers"]


@pytest.mark.parametrize("nodes", [kuberay_nodes, aws_nodes])
def test_the_sample_run_fits_the_sample_clusters(nodes):
    config = load(CLUSTER / "run.yaml")
    for phase in phases_of(config, ARTIFACTS):
        request = getattr(config.resources, phase)
        assert missing_capacity(phase, request, list(nodes())) is None
        assert request.labels == {"group": "teacher" if phase == "teacher" else "student"}
    assert config.resources.autoscaling


def test_the_cluster_file_of_ray_up_is_one():
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    config = yaml.safe_load((CLUSTER / "autoscaler.yaml").read_text())
    jsonschema.validate(config, json.loads(schema.read_text()))
    assert config["head_node_type"] in config["available_node_types"]
    starts = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)


def test_the_job_runs_the_sample_config_of_the_image():
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())["spec"]
    command, verb, path, *overrides = shlex.split(job["entrypoint"])
    assert (command, verb) == ("kpod", "run")
    config = load(REPOSITORY / Path(path).relative_to("/opt/kpod_ray"), overrides)
    assert config.storage.startswith("/mnt/kpod/")


def test_the_sets_beside_svamp_can_be_asked(monkeypatch):
    paper, sample = (
        load(REPOSITORY / "configs" / name)
        for name in ("paper/svamp-llama-7b.yaml", "comparison/compare-svamp.yaml")
    )
    names = ["addsub", "asdiv", "multiarith", "singleeq"]
    assert sorted(paper.evaluation.also) == sorted(sample.evaluation.also) == names
    if not (SHARED_DATA / sample.questions.path).is_file():
        pytest.skip(f"{SHARED_DATA} with the files of the sets isn't on this machine")
    monkeypatch.chdir(SHARED_DATA)
    training = load_questions(sample.questions, sample.seed).questions
    for name, source in sample.evaluation.also.items():
        assert load_further_set(name, source, sample.seed, training).questions


def test_the_image_holds_what_it_copies():
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    for path in (path for paths in copied for path in paths):
        for lock in ("cpu", "gpu"):
            assert (REPOSITORY / path.replace("${LOCK}", lock)).exists()
