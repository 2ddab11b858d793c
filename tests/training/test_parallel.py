"""Layers that are computed again keep less, and give the same gradients."""

import pytest
import torch
from torch import nn

from kpod_ray.errors import KpodError
from kpod_ray.models.packing import use_packing
from kpod_ray.models.student import CausalStudent, load_student
from kpod_ray.training.parallel import recompute_layers


def gradients_and_kept_bytes(student, examples):
    """One backward pass, and the bytes that the forward pass keeps for it."""
    parameters, kept = {p.data_ptr() for p in student.parameters()}, {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = student(student.collate(examples, [0, 1, 0], 0)).total
    gradients = torch.autograd.grad(total, [p for p in student.parameters() if p.requires_grad])
    return gradients, sum(kept.values())


@pytest.mark.parametrize("kind", ["padded", "packed", "encoder-decoder"])
def test_gradients_are_the_same_and_less_is_kept(kind, tiny_folder, t5_folder, examples):
    folder = t5_folder if kind == "encoder-decoder" else tiny_folder
    student = load_student(folder, torch.float32).eval()
    if kind == "packed":
        assert use_packing(student, 1024)
    expected, kept = gradients_and_kept_bytes(student, examples)
    recompute_layers(student.language_model)
    gradients, kept_now = gradients_and_kept_bytes(student, examples)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert kept_now < 0.7 * kept


def test_nothing_inside_a_layer_becomes_random(tiny_folder):
    student = load_student(tiny_folder, torch.float32).eval()
    recompute_layers(student.language_model)
    training = {type(m).__name__ for m in student.modules() if m.training}
    assert training == {"LlamaDecoderLayer"}


def test_a_model_without_such_layers_is_refused(student):
    model = student.language_model
    model.base_model.layers = nn.ModuleList(
        nn.Sequential(*layer.children()) for layer in model.base_model.layers
    )
    with pytest.raises(KpodError, match=r"student\.gradient_checkpointing=false"):
        recompute_layers(CausalStudent(model, torch.float32, student.token_loss).language_model)
