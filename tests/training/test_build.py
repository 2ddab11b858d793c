"""Adapters change nothing at first, alone learn, and come out as an ordinary model."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kpod_ray.config import LoraConfig, StudentConfig
from kpod_ray.data.training_examples import training_example
from kpod_ray.errors import KpodError
from kpod_ray.models.safetensors_state import load_state, read_state, state_of, write_state
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_student
from kpod_ray.training.build import add_adapters, load_plain_student, merge_adapters

LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
T5 = ("q", "k", "v", "o", "wi_0", "wi_1", "wo")


@pytest.fixture(params=["tiny:0", "tiny-t5:0"])
def folder(request):
    return model_folder(request.param)


def adapted(folder, rank=4, **settings):
    torch.manual_seed(1)
    student = load_student(folder, torch.float32)
    add_adapters(student.language_model, LoraConfig(rank=rank, **settings))
    return student


def batch_of(student, examples):
    return student.collate(examples, [1, 0, 1], 258)


def trained(student, examples, steps=4):
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    for _ in range(steps):
        train_step(student, optimizer, examples)
    return optimizer


def train_step(student, optimizer, examples):
    (student(batch_of(student, examples)).total / 50).backward()
    optimizer.step()
    optimizer.zero_grad()


def layers(student):
    """Names of the layers with an adapter, by the last part."""
    names = [n for n, p in student.named_parameters() if p.requires_grad]
    return {name.partition(".lora_")[0].rpartition(".")[2] for name in names}


def test_untrained_adapters_leave_the_loss_as_it_was(folder, examples):
    plain, student = load_student(folder, torch.float32), adapted(folder)
    expected = plain(batch_of(plain, examples))
    parts = student(batch_of(student, examples))
    torch.testing.assert_close(parts.total, expected.total, rtol=1e-6, atol=0)
    torch.testing.assert_close(parts.token_nll, expected.token_nll, rtol=1e-5, atol=1e-6)


def test_every_linear_layer_of_attention_and_feed_forward_gets_one(folder):
    assert layers(adapted(folder)) == set(T5 if "t5" in folder else LLAMA)


def test_named_layers_alone_get_one(folder):
    names = ("q", "wo") if "t5" in folder else ("q_proj", "down_proj")
    assert layers(adapted(folder, target_modules=names)) == set(names)


def test_only_adapters_learn(folder, examples):
    student, plain = adapted(folder), load_student(folder, torch.float32)
    before = student(batch_of(student, examples)).total.item()
    trained(student, examples)
    assert student(batch_of(student, examples)).total.item() < before
    merged = {name.replace(".base_layer", ""): p for name, p in student.named_parameters()}
    for name, parameter in plain.named_parameters():
        assert torch.equal(merged[name], parameter)
    assert all(p.grad is None for p in student.parameters() if not p.requires_grad)


def test_alpha_scales_what_an_adapter_adds(tiny_folder, examples):
    # Halved alpha with a doubled B is the same model: alpha / rank multiplies B A x.
    whole, half = adapted(tiny_folder), adapted(tiny_folder, alpha=2)
    with torch.no_grad():
        for (name, ours), (_, theirs) in zip(
            whole.named_parameters(), half.named_parameters(), strict=True
        ):
            if "lora_B" in name:
                ours.normal_(std=0.1)
                theirs.copy_(2 * ours)
    torch.testing.assert_close(
        whole(batch_of(whole, examples)).total, half(batch_of(half, examples)).total
    )


def test_the_merged_folder_gives_the_logits_of_the_adapted_model(folder, examples, tmp_path):
    student = adapted(folder)
    trained(student, examples)
    inputs = batch_of(student, examples).model_inputs()
    with torch.no_grad():
        expected = student.language_model(**inputs).logits
        merge_adapters(student.language_model)
        student.language_model.save_pretrained(tmp_path)
        kind = AutoModelForSeq2SeqLM if "t5" in folder else AutoModelForCausalLM
        loaded = kind.from_pretrained(tmp_path)
        plain = kind.from_pretrained(folder)
        torch.testing.assert_close(loaded(**inputs).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(plain(**inputs).logits, expected, rtol=1e-2, atol=1e-2)
    assert loaded.state_dict().keys() == plain.state_dict().keys()


def test_merging_a_model_without_adapters_leaves_it(student):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    merge_adapters(student.language_model)
    after = student.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_checkpoint_holds_adapters_alone_and_resumes_exactly(folder, examples, tmp_path):
    student = adapted(folder)
    optimizer = trained(student, examples)
    write_state(state_of(student, optimizer), tmp_path)
    sizes = sum(p.numel() * 4 for p in student.parameters() if p.requires_grad)
    assert (tmp_path / "parameters.safetensors").stat().st_size < 1.5 * sizes
    torch.manual_seed(2)
    resumed = adapted(folder)
    resumed_optimizer = torch.optim.AdamW(resumed.parameters(), lr=1e-2)
    load_state(resumed, resumed_optimizer, read_state(tmp_path))
    train_step(student, optimizer, examples)
    train_step(resumed, resumed_optimizer, examples)
    expected = student.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.state_dict().items())


def test_a_checkpoint_of_another_way_of_training_is_refused(tiny_folder, student, tmp_path):
    optimizer = torch.optim.AdamW(student.parameters())
    write_state(state_of(student, optimizer), tmp_path)
    other = adapted(tiny_folder)
    with pytest.raises(RuntimeError, match="not those that are trained"):
        load_state(other, torch.optim.AdamW(other.parameters()), read_state(tmp_path))


def test_names_of_no_layer_are_said_so_in_one_line(tiny_folder):
    with pytest.raises(KpodError, match=r"student\.lora\.target_modules: .*nowhere") as caught:
        adapted(tiny_folder, target_modules=("nowhere",))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token_weights", ["from_weighting", "uniform"])
@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_the_loss_is_the_sum_of_weight_times_probability_times_nll(
    folder, examples, token_weights, loss
):
    config = StudentConfig(model=folder, token_weights=token_weights, boundary=False, loss=loss)
    student = load_plain_student(config, seed=0)
    made = [training_example(example, config, 0) for example in examples]
    nll = load_student(folder, torch.float32)(batch_of(student, made)).token_nll.tolist()
    # What is in the loss: of each example the tokens of the steps that aren't given, and the answer.
    weights = [
        weight if token_weights == "from_weighting" else 1.0
        for example, given in zip(examples, [1, 0, 1], strict=True)
        for weight, step in zip(example.token_weights, example.token_steps, strict=True)
        if step >= given
    ]
    parts = zip(weights, nll, strict=True)
    expected = sum(w * n * (math.exp(-n) if loss == "dft" else 1) for w, n in parts)
    total = student(batch_of(student, made)).total
    assert total.item() == pytest.approx(expected, rel=1e-5)
