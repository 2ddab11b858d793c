"""Students of every family: the loss is that of the model's own logits, computed the slow way."""

import math

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from kpod_ray.errors import KpodError
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_student
from kpod_ray.schedule.assess import measure_steps

CAUSAL = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 258,
    "bos_token_id": 256,
    "eos_token_id": 257,
}
PAIR = {"vocab_size": 259, "d_model": 32, "pad_token_id": 258, "eos_token_id": 257}
T5 = {
    **PAIR,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 258,
}
BART = {**PAIR, "decoder_start_token_id": 257, "bos_token_id": 256, "max_position_embeddings": 512}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**CAUSAL)),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**CAUSAL)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**CAUSAL, num_key_value_heads=1)),
    "t5 of 2019": lambda: T5ForConditionalGeneration(T5Config(**T5)),
    "bart": lambda: BartForConditionalGeneration(BartConfig(**BART)),
}


@pytest.fixture(params=[*FAMILIES, "flan-t5"], scope="module")
def family(request, tmp_path_factory):
    """A random student of a family; Flan-T5's kind has an output head of its own."""
    if request.param == "flan-t5":
        return load_student(model_folder("tiny-t5:0"), torch.float32)
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(3)
    FAMILIES[request.param]().save_pretrained(folder)
    return load_student(str(folder), torch.float32)


def slow_nll(language_model, example, given):
    """Losses of one example's tokens from the given steps on, each by a softmax over full logits."""
    ids = list(example.target_ids)
    first = sum(step < given for step in example.token_steps)
    if language_model.config.is_encoder_decoder:
        read = [*example.prompt_ids, *ids[:first], ids[-1]]
        start = language_model.config.decoder_start_token_id
        inputs = {"input_ids": read, "decoder_input_ids": [start, *ids[first:-1]]}
        offset = 0
    else:
        inputs = {"input_ids": [*example.prompt_ids, *ids]}
        offset = len(example.prompt_ids) - 1 + first
    tensors = {name: torch.tensor([row]) for name, row in inputs.items()}
    logits = language_model(**tensors).logits[0]
    losses = [-logits[offset + j].log_softmax(-1)[ids[first + j]] for j in range(len(ids) - first)]
    return torch.stack(losses)


@pytest.mark.parametrize("given_steps", [[0, 0, 0], [1, 2, 0], [1, 3, 2]])
def test_loss_and_gradients_are_those_of_the_models_own_logits(family, examples, given_steps):
    parts = family(family.collate(examples, given_steps, 258))
    nll, total = [], torch.zeros(())
    for example, given in zip(examples, given_steps, strict=True):
        losses = slow_nll(family.language_model, example, given)
        weights = torch.tensor(example.token_weights[len(example.target_ids) - len(losses) :])
        nll.append(losses)
        total = total + (losses * weights).sum()
    torch.testing.assert_close(parts.token_nll, torch.cat(nll).detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts.total, total, rtol=1e-5, atol=1e-4)
    parameters = list(family.parameters())
    pairs = [
        torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (parts.total, total)
    ]
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("most_tokens", [1, 200, 8192])
def test_step_difficulties_are_those_of_explicit_loops(family, examples, most_tokens):
    found = dict(measure_steps(family, examples, pad_id=258, max_tokens=most_tokens))
    assert found.keys() == {example.question_id for example in examples}
    for example in examples:
        with torch.no_grad():
            losses = slow_nll(family.language_model, example, 0).tolist()
        weighted, uniform = [], []
        for step in range(example.num_steps):
            inside = [j for j, s in enumerate(example.token_steps) if s == step]
            norm = sum(math.exp(example.token_weights[j]) for j in inside)
            parts = [math.exp(example.token_weights[j]) / norm * losses[j] for j in inside]
            weighted.append(sum(parts))
            uniform.append(sum(losses[j] for j in inside) / len(inside))
        row = found[example.question_id]
        assert row.step_difficulties == pytest.approx(weighted, abs=1e-5)
        assert row.uniform_step_difficulties == pytest.approx(uniform, abs=1e-5)


def test_given_steps_of_an_encoder_decoder_are_read_by_its_encoder(examples):
    student = load_student(model_folder("tiny-t5:0"), torch.float32)
    whole = student(student.collate(examples[1:2], [0], 258)).token_nll
    rest = student(student.collate(examples[1:2], [1], 258)).token_nll
    assert not torch.allclose(rest, whole[len(whole) - len(rest) :], rtol=1e-3)


def test_bf16_of_an_encoder_decoder_gives_nearly_the_same_loss(examples):
    folder = model_folder("tiny-t5:0")
    exact, mixed = (load_student(folder, dtype) for dtype in (torch.float32, torch.bfloat16))
    batch = exact.collate(examples, [0, 1, 0], 258)
    total, expected = mixed(batch).total, exact(batch).total
    assert total.item() != expected.item()
    assert total.item() == pytest.approx(expected.item(), rel=0.01)


def test_an_encoder_decoder_without_a_start_token_is_refused(tmp_path):
    model = T5ForConditionalGeneration(T5Config(**{**T5, "decoder_start_token_id": None}))
    model.save_pretrained(tmp_path)
    with pytest.raises(KpodError, match="decoder_start_token_id is missing"):
        load_student(str(tmp_path), torch.float32)


def test_logits_with_a_bias_of_their_own_are_refused(tmp_path):
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig(**BART))
    model.final_logits_bias.normal_()
    model.save_pretrained(tmp_path)
    with pytest.raises(KpodError, match="scaled logits are not supported"):
        load_student(str(tmp_path), torch.float32)
