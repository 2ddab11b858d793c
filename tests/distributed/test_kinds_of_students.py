import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from kpod_ray.models.folders import MODEL_CACHE, model_folder
from tests.distributed.training_runs import (
    TWO,
    largest_difference,
    train,
    train_here,
    training_processes,
)


@pytest.fixture(scope="module", params=["encoder-decoder", "adapters"])
def other(request, ray_cluster, training_inputs):
    """Settings of another kind of student, and what it comes to alone."""
    kinds = {"encoder-decoder": {"model": "tiny-t5:0"}, "adapters": {"lora": {"rank": 4}}}
    settings = kinds[request.param]
    return request.param, settings, train_here(training_inputs, request.param, **settings)


def test_every_kind_of_student_learns_the_same_with_workers_of_which_one_is_killed(
    other, training_inputs
):
    name, settings, (parameters, history) = other
    assert history[-1]["answer_loss"] < history[0]["answer_loss"]
    killed = []

    def kill_once(metrics):
        if metrics["stage"] == 2 and not killed:
            killed.extend(training_processes()[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    other_batches = {"micro_batch_tokens": 1, "packing": False}
    label = f"{name} killed"
    two, other_history = train(
        training_inputs, label, kill_once, resources=TWO, **other_batches, **settings
    )
    assert killed
    for ours, theirs in zip(other_history, history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert largest_difference(two, parameters) < 2e-3


def test_an_exported_student_of_any_kind_is_an_ordinary_folder(other, training_inputs):
    name, settings, (parameters, _) = other
    untrained = load_file(
        f"{model_folder(settings.get('model', 'tiny:0'), MODEL_CACHE)}/model.safetensors"
    )
    assert parameters.keys() == untrained.keys()  # adapters are merged
    changed = {key for key in parameters if not torch.equal(parameters[key], untrained[key])}
    if name == "adapters":
        assert changed == {key for key in parameters if key.endswith("_proj.weight")}
    else:
        assert changed == set(parameters)
