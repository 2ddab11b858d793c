"""Build the student that a worker trains and its examples; export the trained student."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from kpod_ray.algorithm.loss import probability_scaled_nll, weighted_nll, with_full_logits
from kpod_ray.config import LoraConfig, StudentConfig
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.kernels.lora_linear import AdaptedLinear
from kpod_ray.kernels.recomputed_layers import use_recomputed_layers
from kpod_ray.models.device import compute_dtype
from kpod_ray.models.packing import use_packing
from kpod_ray.models.safetensors_state import load_parameters
from kpod_ray.models.student import (
    Student,
    TokenLoss,
    load_student,
    load_tokenizer,
    pad_id,
)
from kpod_ray.storage.artifacts import Store
from kpod_ray.training.job import TrainJob
from kpod_ray.training.parallel import recompute_layers


def build_student(config: StudentConfig, seed: int) -> Student:
    """Return the untrained student as its settings want it: the same on every worker.

    Args:
        config: of the student.
        seed: of what is random about adapters.

    Raises:
        KpodError: The model can't be trained with these settings.
    """
    student = load_plain_student(config, seed)
    if config.packing and config.kernels:
        use_packing(student, config.max_length)
    if config.gradient_checkpointing:
        recompute_layers(student.language_model)
    elif config.kernels:
        use_recomputed_layers(student.language_model)
    return student


def load_plain_student(config: StudentConfig, seed: int) -> Student:
    """Return the untrained student with its adapters, without what only training needs.

    Arguments and errors are those of `build_student`.
    """
    dtype = compute_dtype(config.precision)
    student: Student = load_student(config.model, dtype, _token_loss(config)).eval()
    if config.lora is not None:
        torch.manual_seed(seed)
        layer = AdaptedLinear if config.kernels else peft.tuners.lora.Linear
        add_adapters(student.language_model, config.lora, layer)
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
    student = load_plain_student(job.student, job.seed)
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
    token_loss = probability_scaled_nll if student.loss == "dft" else weighted_nll
    return token_loss if student.kernels else with_full_logits(token_loss)


def add_adapters(
    language_model: Any, config: LoraConfig, layer: type[nn.Module] = AdaptedLinear
) -> None:
    """Put an adapter beside each target layer, in place; nothing but the adapters stays trainable.

    An adapter's output is 0 at first, so the model is unchanged. What is random about them comes
    from torch's global generator.

    Args:
        language_model: gets the adapters.
        config: their settings.
        layer: what a linear layer becomes: `AdaptedLinear` of the kernels, or peft's own.

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
    settings._register_custom_module({nn.Linear: layer})
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
