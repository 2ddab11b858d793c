"""The configs for one GPU: what they ask of it, by calculation, and that they don't claim more."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from kpod_ray.cluster.capacity import Node, missing_capacity, phases_of
from kpod_ray.config import load
from kpod_ray.inference.engine_arguments import check_engine_arguments
from tests.conftest import REPOSITORY

CONFIGS = REPOSITORY / "configs"
GPUS = {"gpu-24gb": 24e9, "gpu-80gb": 80e9}
"""Name of a config, and the bytes of its GPU."""
ARTIFACTS = ("teacher", "weigh", "assess", "plan", "train", "evaluate_before", "evaluate")
SHAPES = {
    "Qwen/Qwen3-0.6B": (1024, 3072, 28, 16, True),
    "Qwen/Qwen3-1.7B": (2048, 6144, 28, 16, True),
    "Qwen/Qwen3-8B": (4096, 12288, 36, 32, False),
    "Qwen/Qwen3-14B": (5120, 17408, 40, 40, False),
}
"""Hidden size, size of the MLP, layers, attention heads, and whether the head is tied."""
PROMPT = 900
"""Most tokens of a prompt with four worked examples and a long question of GSM8K."""
RESERVE = 2e9
"""Bytes that an engine needs for its activations and captured graphs."""
ENGINE_SHARE = 0.9
"""Share of a GPU's memory that vLLM takes by default."""


def config_of(model):
    hidden, mlp, layers, heads, is_tied = SHAPES[model]
    return Qwen3Config(
        vocab_size=151936,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=is_tied,
    )


def num_parameters(model):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config_of(model)).num_parameters()


@pytest.mark.parametrize("name", GPUS)
def test_every_phase_fits_a_machine_with_one_gpu(name):
    config = load(CONFIGS / f"{name}.yaml")
    nodes = [Node({"CPU": 4, "GPU": 1}, {})]
    for group in phases_of(config, ARTIFACTS):
        request = getattr(config.resources, group)
        assert request.num_gpus == 1
        assert missing_capacity(group, request, nodes) is None


def room_for_texts(model, phase, memory):
    """Return the bytes that an engine has for keys and values, and the texts that fit into them."""
    engine, shape = phase.engine_kwargs, config_of(model)
    share = engine.get("gpu_memory_utilization", ENGINE_SHARE)
    room = share * memory - 2 * num_parameters(model) - RESERVE
    per_token = 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim * 2
    return room, room / per_token / (PROMPT + phase.max_new_tokens)


@pytest.mark.parametrize("name", GPUS)
def test_teacher_and_evaluation_have_room_for_many_texts_at_once(name):
    config = load(CONFIGS / f"{name}.yaml")
    teacher, student = config.teacher, config.student
    for model, phase in ((teacher.model, teacher), (student.model, config.evaluation)):
        assert phase.engine_kwargs["dtype"] == "bfloat16"
        check_engine_arguments("engine_kwargs", phase.engine_kwargs)
        assert PROMPT + phase.max_new_tokens <= phase.engine_kwargs["max_model_len"]
        assert room_for_texts(model, phase, GPUS[name])[1] >= 16


@pytest.mark.parametrize("name", GPUS)
def test_the_student_is_trained_in_half_of_the_memory(name):
    config = load(CONFIGS / f"{name}.yaml")
    assert (config.student.precision, config.student.lora) == ("bf16", None)
    assert 16 * num_parameters(config.student.model) <= GPUS[name] / 2


@pytest.mark.parametrize("name", GPUS)
def test_a_config_says_that_it_is_not_measured_and_what_it_was_calculated_to_take(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    config = load(CONFIGS / f"{name}.yaml")
    assert text.startswith("# NOT MEASURED: ")
    words = " ".join(text.replace("\n#", " ").split())
    teacher = 2 * num_parameters(config.teacher.model) / 1e9
    student = 16 * num_parameters(config.student.model) / 1e9
    room, texts = room_for_texts(config.teacher.model, config.teacher, GPUS[name])
    assert f"teacher's parameters take {teacher:.1f}, and with 2 for activations" in words
    assert f"{room / 1e9:.1f} are left for the keys and values of {int(texts)} texts" in words
    assert f"takes {student:.1f} (16 bytes each)" in words
