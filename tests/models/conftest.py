"""Examples of different length for the tiny byte tokenizer."""

import re

import pytest
import torch

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.data.examples import build_example
from kpod_ray.models.student import load_student
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
