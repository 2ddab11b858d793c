"""A student without kernels has the losses and gradients of one with them, and none of our layers."""

import peft
import pytest
import torch

from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import PackedBatch
from kpod_ray.training.build import build_student
from kpod_ray.training.trainer import StudentTraining, TrainingSet, WorkerRank

KINDS = {
    "causal": {"model": "tiny:0"},
    "causal with adapters": {"model": "tiny:0", "lora": {"rank": 4, "alpha": 6}},
    "causal with dft": {"model": "tiny:0", "loss": "dft"},
    "encoder-decoder": {"model": "tiny-t5:0"},
    "encoder-decoder with adapters": {"model": "tiny-t5:0", "lora": {"rank": 4}},
}


def built(settings, *, kernels):
    config = StudentConfig(max_length=1024, kernels=kernels, **settings)
    student = build_student(config, seed=1).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if ".lora_B." in name:  # else an adapter's output is 0, and the gradient of A, too
                parameter.normal_(std=0.1, generator=generator)
    return config, student


def loss_and_gradients(student, examples, given_steps):
    parts = student(student.collate(examples, given_steps, 0))
    named = {name: p for name, p in student.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(parts.total, list(named.values()))
    return parts, dict(zip(named, gradients, strict=True))


@pytest.fixture(params=KINDS)
def settings(request):
    return KINDS[request.param]


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("given_steps", [[0, 0, 0], [1, 2, 0]])
def test_losses_and_gradients_are_the_same_without_kernels(
    settings, examples, packing, given_steps
):
    settings = {**settings, "packing": packing}
    _, ours = built(settings, kernels=True)
    _, plain = built(settings, kernels=False)
    is_packed = isinstance(ours.collate(examples, given_steps, 0), PackedBatch)
    assert is_packed == (packing and "t5" not in settings["model"])
    found, gradients = loss_and_gradients(ours, examples, given_steps)
    expected, expected_gradients = loss_and_gradients(plain, examples, given_steps)
    torch.testing.assert_close(found.total, expected.total, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.token_nll, expected.token_nll, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.is_top, expected.is_top)
    assert gradients.keys() == expected_gradients.keys()
    assert any(gradient.abs().max() > 1e-2 for gradient in gradients.values())
    for name, gradient in gradients.items():
        difference = (gradient - expected_gradients[name]).norm()
        assert difference <= 1e-5 * expected_gradients[name].norm() + 1e-6, name


def test_train_steps_are_the_same_without_kernels(settings, examples):
    metrics, parameters = [], []
    for kernels in (True, False):
        config, student = built(settings, kernels=kernels)
        training_set = TrainingSet(examples, "from_weighting", 0, 0)
        training = StudentTraining(student, student, config, training_set, WorkerRank(0, 1))
        given = {example.question_id: 0 for example in examples}
        metrics.append([training.train_step([0, 1, 2], given, 0.0) for _ in range(3)])
        parameters.append(dict(student.named_parameters()))
    for ours, theirs in zip(*metrics, strict=True):
        for name in ("loss", "rationale_loss", "answer_loss", "grad_norm", "token_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
    for name, parameter in parameters[0].items():
        torch.testing.assert_close(parameter, parameters[1][name], rtol=1e-3, atol=1e-4)


def test_without_kernels_no_module_is_ours(settings):
    _, ours = built(settings, kernels=True)
    _, plain = built(settings, kernels=False)

    def modules_of_kernels(student):
        modules = student.language_model.modules()
        return [m for m in modules if type(m).__module__.startswith("kpod_ray.kernels")]

    assert modules_of_kernels(ours)
    assert not modules_of_kernels(plain)
    assert plain.language_model.config._attn_implementation == "sdpa"
    if "lora" in settings:
        assert any(type(m) is peft.tuners.lora.Linear for m in plain.modules())


def test_gradient_checkpointing_works_without_kernels(examples):
    settings = {"model": "tiny:0", "gradient_checkpointing": True}
    _, ours = built(settings, kernels=True)
    _, plain = built(settings, kernels=False)
    found, gradients = loss_and_gradients(ours, examples, [0, 1, 0])
    expected, expected_gradients = loss_and_gradients(plain, examples, [0, 1, 0])
    torch.testing.assert_close(found.total, expected.total, rtol=1e-5, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-5)
