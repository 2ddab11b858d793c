"""The student that a worker trains and its examples, built from a plain job; and its way out."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll
from kpod_ray.config import LoraConfig, StudentConfig
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.kernels.lora_linear import AdaptedLinear
from kpod_ray.kernels.recomputed_layers import use_recomputed_layers
from kpod_ray.models.device import compute_dtype
from kpod_ray.models.packing import use_packing
from kpod_ray.models.safetensors_state import load_parameters
from kpod_ray.models.student import (
    CausalStudent,
    Student,
    TokenLoss,
    load_student,
    load_tokenizer,
    pad_id,
)
from kpod_ray.storage.artifacts import Store
from kpod_ray.training.job import TrainJob
from kpod_ray.training.parallel import recompute_layers


def build_student(job: TrainJob) -> Student:
    """Return the untrained student as its settings want it: the same on every worker.

    Raises:
        KpodError: The model can't be trained with these settings.
    """
    config, student = job.student, load_plain_student(job)
    if config.packing and isinstance(student, CausalStudent):
        use_packing(student, config.max_length)
    if config.gradient_checkpointing:
        recompute_layers(student.language_model)
    else:
        use_recomputed_layers(student.language_model)
    return student


def load_plain_student(job: TrainJob) -> Student:
    """Return the untrained student with its adapters, without what only training needs.

    Raises:
        KpodError: The model can't be trained with these settings.
    """
    config = job.student
    dtype = compute_dtype(config.precision)
    student: Student = load_student(config.model, dtype, _token_loss(config)).eval()
    if config.lora is not None:
        torch.manual_seed(job.seed)
        add_adapters(student.language_model, config.lora)
    return student


def read_examples(job: TrainJob, store: Store) -> tuple[list[Example], list[Example]]:
    """Return the examples that are trained on, and those held out for validation."""
    ids = set(store.read_table(job.trained_on, ["question_id"])["question_id"].to_pylist())
    parts: tuple[list[Example], list[Example]] = [], []
    for example in Example.from_table(store.read_table(job.examples)):
        parts[example.question_id not in ids].append(example)
    return parts


def padding_id(job: TrainJob) -> int:
    """Return the token that the student's batches are padded with."""
    return pad_id(load_tokenizer(job.student.model))


def finished_student(job: TrainJob, parameters: dict[str, Tensor]) -> Student:
    """Return the student with these trained parameters, adapters merged."""
    student = load_plain_student(job)
    load_parameters(student, parameters)
    if job.student.lora is not None:
        merge_adapters(student.language_model)
    return student


def export_student(job: TrainJob, store: Store, parameters: dict[str, Tensor]) -> None:
    """Write the student with these trained parameters as an ordinary Hugging Face folder."""
    student = finished_student(job, parameters)
    with tempfile.TemporaryDirectory() as name:
        student.language_model.save_pretrained(name)
        load_tokenizer(job.student.model).save_pretrained(name)
        for file in sorted(Path(name).iterdir()):
            store.upload(file, f"{job.folder}/student/{file.name}")


def _token_loss(student: StudentConfig) -> TokenLoss:
    return probability_scaled_nll if student.loss == "dft" else weighted_nll


def add_adapters(language_model: Any, config: LoraConfig) -> None:
    """Put an adapter beside each target layer, in place; nothing but the adapters stays trainable.

    An adapter's output is 0 at first, so the model is unchanged. What is random about them comes
    from torch's global generator.

    Raises:
        KpodError: No layer has a name in ``target_modules``.
    """
    targets = config.target_modules
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.rank if config.alpha is None else config.alpha,
        lora_dropout=0.0,
        target_modules="all-linear" if targets is None else list(targets),
    )
    settings._register_custom_module({nn.Linear: AdaptedLinear})
    try:
        peft.get_peft_model(language_model, settings)
    except ValueError as error:
        raise KpodError(f"student.lora.target_modules: {str(error).splitlines()[0]}") from error


def merge_adapters(language_model: Any) -> None:
    """Add each adapter to its layer and take it out, in place: an ordinary model is left.

    A model without adapters stays as it is.
    """
    for name, module in list(language_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            language_model.set_submodule(name, module.get_base_layer())
