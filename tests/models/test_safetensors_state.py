"""A checkpoint holds all that the next train step depends on, and nothing pickled."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kpod_ray.data.batches import collate
from kpod_ray.models.safetensors_state import (
    DamagedError,
    load_state,
    read_state,
    state_of,
    write_state,
)
from kpod_ray.models.student import load_student


def optimizer_of(module):
    return torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.01)


def save_state(module, optimizer, folder):
    write_state(state_of(module, optimizer), folder)


def read_and_load(module, optimizer, folder):
    load_state(module, optimizer, read_state(folder))


def train_step(student, optimizer, batch):
    (student(batch).total / len(batch.labels)).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_the_next_train_step_is_identical_after_a_round_trip(
    student, tiny_folder, examples, tmp_path
):
    batch = collate(examples, [0, 0, 0], pad_id=0)
    optimizer = optimizer_of(student)
    for _ in range(2):
        train_step(student, optimizer, batch)
    save_state(student, optimizer, tmp_path)
    resumed = load_student(tiny_folder, torch.float32)
    resumed_optimizer = optimizer_of(resumed)
    read_and_load(resumed, resumed_optimizer, tmp_path)
    without_optimizer = load_student(tiny_folder, torch.float32)
    read_and_load(without_optimizer, optimizer_of(without_optimizer), tmp_path)
    train_step(student, optimizer, batch)
    train_step(resumed, resumed_optimizer, batch)
    train_step(without_optimizer, optimizer_of(without_optimizer), batch)
    expected = student.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())
    others = without_optimizer.state_dict()
    assert not all(torch.equal(value, expected[key]) for key, value in others.items())


def test_tied_parameters_stay_tied(student, tiny_folder, tmp_path):
    with torch.no_grad():
        student.language_model.get_input_embeddings().weight.add_(1)
    save_state(student, optimizer_of(student), tmp_path)
    loaded = load_student(tiny_folder, torch.float32)
    read_and_load(loaded, optimizer_of(loaded), tmp_path)
    model = loaded.language_model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    expected = student.language_model.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, expected)


def test_an_optimizer_without_state_yet_is_saved_and_loaded(tmp_path):
    module = nn.Linear(2, 1)
    save_state(module, optimizer_of(module), tmp_path)
    other = nn.Linear(2, 1)
    optimizer = optimizer_of(other)
    read_and_load(other, optimizer, tmp_path)
    assert torch.equal(other.weight, module.weight)
    assert optimizer.state_dict()["state"] == {}


def test_the_learning_rate_of_the_new_optimizer_stays(tmp_path):
    module = nn.Linear(2, 1)
    save_state(module, optimizer_of(module), tmp_path)
    faster = torch.optim.AdamW(module.parameters(), lr=0.5)
    read_and_load(module, faster, tmp_path)
    assert faster.param_groups[0]["lr"] == 0.5


def test_everything_saved_is_safetensors(tmp_path):
    module = nn.Linear(2, 1)
    optimizer = optimizer_of(module)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_state(module, optimizer, tmp_path)
    assert {path.name: set(load_file(path)) for path in tmp_path.iterdir()} == {
        "parameters.safetensors": {"weight", "bias"},
        "optimizer.safetensors": {
            f"{i}/{key}" for i in range(2) for key in ("step", "exp_avg", "exp_avg_sq")
        },
    }


def test_parameters_of_another_build_are_refused(tmp_path):
    module, other = nn.Linear(2, 1), nn.Linear(3, 1)
    save_state(module, optimizer_of(module), tmp_path)
    with pytest.raises(RuntimeError, match="not those that are trained"):
        read_and_load(other, optimizer_of(other), tmp_path)


@pytest.mark.parametrize("name", ["parameters", "optimizer"])
@pytest.mark.parametrize("size", [None, 0, 7, 100])
def test_a_file_that_is_cut_off_or_missing_is_told(tmp_path, name, size):
    module = nn.Linear(2, 1)
    optimizer = optimizer_of(module)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_state(module, optimizer, tmp_path)
    file = tmp_path / f"{name}.safetensors"
    if size is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DamagedError, match=f"^{name}.safetensors: "):
        read_state(tmp_path)
