import pytest
import torch
from safetensors.torch import load_file

from kpod_ray.models.sources import model_folder
from tests.training.training_runs import TWO, DeathsInStage2, largest_difference, train


@pytest.fixture(scope="module", params=["encoder-decoder", "adapters"])
def other(request, ray_cluster, training_inputs):
    """Settings of another kind of student, and what it comes to alone."""
    kinds = {"encoder-decoder": {"model": "tiny-t5:0"}, "adapters": {"lora": {"rank": 4}}}
    settings = kinds[request.param]
    return request.param, settings, train(training_inputs, request.param, **settings)


def test_every_kind_of_student_learns_with_workers_and_micro_batches_as_they_may_be(
    other, training_inputs
):
    name, settings, (parameters, history) = other
    assert history[-1]["answer_loss"] < history[0]["answer_loss"]
    two, other_history = train(
        training_inputs, f"{name} 2", resources=TWO, micro_batch_tokens=1, packing=False, **settings
    )
    for ours, theirs in zip(other_history, history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["loss_tokens"] == theirs["loss_tokens"]
    assert largest_difference(two, parameters) < 2e-3


def test_a_killed_worker_changes_nothing_for_any_kind_of_student(other, training_inputs):
    name, settings, (parameters, history) = other
    deaths = DeathsInStage2()
    resumed, resumed_history = train(training_inputs, f"{name} killed", watch=deaths, **settings)
    assert deaths.killed
    assert [row["loss"] for row in resumed_history] == [row["loss"] for row in history]
    assert largest_difference(resumed, parameters) <= 1e-6


def test_an_exported_student_of_any_kind_is_an_ordinary_folder(other, training_inputs):
    name, settings, (parameters, _) = other
    untrained = load_file(f"{model_folder(settings.get('model', 'tiny:0'))}/model.safetensors")
    assert parameters.keys() == untrained.keys()  # adapters are merged
    changed = {key for key in parameters if not torch.equal(parameters[key], untrained[key])}
    if name == "adapters":
        assert changed == {key for key in parameters if key.endswith("_proj.weight")}
    else:
        assert changed == set(parameters)
