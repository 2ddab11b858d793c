"""Examples of different length for the tiny byte tokenizer."""

import re

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import build_example
from kpod_ray.data.masked import build_masked_example, continued_answer
from kpod_ray.models.student import load_student
from kpod_ray.models.tiny import byte_tokenizer
from kpod_ray.records import Question, WeightedRationale

TEXTS = [
    "2 + 3 = 5.",
    "She has 4 eggs. She eats 1.5 of them. So 2.5 are left.",
    "One is 1. 1 + 1 = 2.",
]


@pytest.fixture(scope="session")
def examples(tiny_tokenizer):
    built = []
    for i, text in enumerate(TEXTS):
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        weights = [0.1 + 0.8 * (j + 1) / (len(spans) + 1) for j in range(len(spans))]
        steps = split_steps(text, split_newlines=True)
        rationale = WeightedRationale(
            f"q{i}", text, *zip(*spans, strict=True), weights, *zip(*steps, strict=True)
        )
        question = Question(f"q{i}", f"How many, {'pray ' * i}?", "5", "number", (), "train", "")
        built.append(build_example(tiny_tokenizer, question, rationale, "chat"))
    return built


@pytest.fixture
def student(tiny_folder):
    return load_student(tiny_folder, torch.float32)


@pytest.fixture(scope="session")
def masked_examples(tiny_tokenizer):
    """Examples of the weighter; the byte tokenizer serves students and predictors alike."""
    built = []
    for i, text in enumerate(["2 + 3 = 5.", "She has 4 eggs and eats half of them.", "One more."]):
        question = Question(f"q{i}", "How many?", str(5**i), "number", (), "train", "")
        answer = continued_answer(tiny_tokenizer, question.answer)
        built.append(build_masked_example(tiny_tokenizer, question, text, "chat", answer))
    return built


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A random encoder-decoder, wider than the tiny student."""
    folder, tokenizer = tmp_path_factory.mktemp("t5"), byte_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=96,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
