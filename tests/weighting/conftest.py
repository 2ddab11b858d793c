"""A masked batch, a weighter and its predictor, of the tiny student."""

import pytest
import torch

from kpod_ray.config import LearnedWeighting
from kpod_ray.models.student import load_student
from kpod_ray.weighting.model import build_weighter
from kpod_ray.weighting.predictors import student_predictor
from tests.weighting.masked_batches import collated

PREFIXES = [4, 20, 9]


@pytest.fixture(scope="module")
def batch(masked_examples):
    return collated(masked_examples, PREFIXES)


@pytest.fixture
def student(tiny_folder):
    torch.manual_seed(0)
    return load_student(tiny_folder, torch.float32).language_model


@pytest.fixture
def predictor(student):
    return student_predictor(student, torch.float32).requires_grad_(False)


@pytest.fixture
def weighter(student):
    return build_weighter(student, LearnedWeighting())
