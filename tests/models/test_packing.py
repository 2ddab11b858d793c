"""Packed sequences have the losses and gradients of padded ones; models that can't are found out."""

import dataclasses

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from kpod_ray.data.batches import PackedBatch, collate
from kpod_ray.models.packing import use_packing
from kpod_ray.models.student import load_student

SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def packing(tiny_folder):
    student = load_student(tiny_folder, torch.float32).eval()
    assert use_packing(student, 1024)
    return student


def gradients(module, loss):
    return torch.autograd.grad(loss, list(module.parameters()))


def with_prompts(examples, beginning):
    """Examples whose prompts begin alike, or not, or are one and the same."""
    if beginning == "as they are":
        return examples
    prompts = [[i, *example.prompt_ids] for i, example in enumerate(examples)]
    if beginning == "one prompt":
        prompts = [examples[0].prompt_ids] * len(examples)
    return [
        dataclasses.replace(example, prompt_ids=prompt)
        for example, prompt in zip(examples, prompts, strict=True)
    ]


@pytest.mark.parametrize("beginning", ["as they are", "not alike", "one prompt"])
@pytest.mark.parametrize("given_steps", [[0, 0, 0], [1, 2, 0], [1, 3, 2]])
def test_a_packed_batch_has_the_loss_and_gradients_of_a_padded_one(
    student, packing, examples, given_steps, beginning
):
    examples = with_prompts(examples, beginning)
    batch = packing.collate(examples, given_steps, 0)
    assert isinstance(batch, PackedBatch)
    num_shared_prefix_tokens = len(batch.sequences.shared_prefix_places) // 3
    assert (num_shared_prefix_tokens > 0) == (beginning != "not alike")
    num_read = sum(example.num_tokens() - 1 for example in examples)
    assert batch.input_ids.shape == (1, num_read - 2 * num_shared_prefix_tokens)
    packed, padded = packing(batch), student(collate(examples, given_steps, 0))
    torch.testing.assert_close(packed.total, padded.total)
    torch.testing.assert_close(packed.token_nll, padded.token_nll, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(
        gradients(packing, packed.total), gradients(student, padded.total), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_bf16_packs_too(tiny_folder, examples):
    mixed = load_student(tiny_folder, torch.bfloat16).eval()
    padded = mixed(collate(examples, [0, 0, 0], 0)).total
    assert use_packing(mixed, 1024)
    packed = mixed(mixed.collate(examples, [0, 0, 0], 0)).total
    assert packed.item() == pytest.approx(padded.item(), rel=0.01)


def test_gradients_are_the_same_when_activations_are_computed_again(packing, examples):
    batch = packing.collate(examples, [0, 1, 0], 0)
    usual = gradients(packing, packing(batch).total)
    packing.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    packing.train()
    for ours, theirs in zip(gradients(packing, packing(batch).total), usual, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_saved_model_knows_nothing_of_packing(packing, tmp_path):
    packing.language_model.save_pretrained(tmp_path)
    assert "kpod" not in (tmp_path / "config.json").read_text()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config._attn_implementation == "sdpa"


def saved(model, folder):
    model.save_pretrained(folder)
    return load_student(str(folder), torch.float32).eval()


def test_a_window_shorter_than_the_longest_example_is_not_packed(tmp_path, examples):
    model = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=8))
    student = saved(model, tmp_path)
    assert not use_packing(student, 9)
    assert not isinstance(student.collate(examples, [0, 0, 0], 0), PackedBatch)
    assert use_packing(student, 8)


def test_layers_that_carry_on_from_one_sequence_to_the_next_are_not_packed(tmp_path, examples):
    torch.manual_seed(0)
    kinds = ["conv", "full_attention"]
    student = saved(Lfm2ForCausalLM(Lfm2Config(**SMALL, layer_types=kinds)), tmp_path)
    padded = student(student.collate(examples, [0, 0, 0], 0)).total
    assert not use_packing(student, 1024)
    torch.testing.assert_close(student(student.collate(examples, [0, 0, 0], 0)).total, padded)
