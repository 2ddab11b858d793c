"""Build the student that a worker trains, and write a trained student as a Hugging Face model folder.

`build_student` loads the student's model and applies the settings: LoRA adapters, packed batches, and
recomputed layers or gradient checkpointing. `finished_student` and `export_student` load trained
parameters into a fresh student and merge the adapters. `read_examples` and `padding_id` provide the data
of the training.
"""

from __future__ import annotations

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
from kpod_ray.models.finite import check_finite
from kpod_ray.models.packing import use_packing
from kpod_ray.models.safetensors_state import load_parameters
from kpod_ray.models.student import (
    Student,
    TokenLoss,
    load_student,
    load_tokenizer,
    pad_id,
)
from kpod_ray.storage.scratch import temporary_folder
from kpod_ray.storage.store import Store
from kpod_ray.training.job import TrainJob
from kpod_ray.training.parallel import recompute_layers


def build_student(config: StudentConfig, seed: int) -> Student:
    """Build the untrained student, ready for training; the result is the same on every worker.

    The student is on the CPU and in evaluation mode, with float32 parameters; don't call ``train`` or
    ``eval`` afterwards (see `recompute_layers`). With adapters, torch's global generator is seeded with
    ``seed``. With ``config.packing`` and ``config.kernels``, a student whose model supports packing
    takes only packed batches (`use_packing`). With ``config.kernels`` and without gradient
    checkpointing, each forward pass supports only one backward pass.

    Raises:
        KpodError: As in `load_plain_student`, or the model doesn't support gradient checkpointing.
        Exception: Another error of `load_student`.
    """
    student = load_plain_student(config, seed)
    if config.packing and config.kernels:
        use_packing(student, config.max_length)
    # Recomputed layers break under gradient checkpointing; see `kernels.recomputed_layers`.
    if config.gradient_checkpointing:
        recompute_layers(student.language_model)
    elif config.kernels:
        use_recomputed_layers(student.language_model)
    return student


def load_plain_student(config: StudentConfig, seed: int) -> Student:
    """Build the untrained student with its adapters, without packing and recomputed layers.

    The student is on the CPU and in evaluation mode, with float32 parameters, and takes padded batches.
    With adapters, torch's global generator is seeded with ``seed``, and all other parameters are frozen.
    The names of the parameters are those of the student from `build_student`.

    Raises:
        KpodError: As in `load_student` or `add_adapters`.
        Exception: Another error of `load_student`.
    """
    dtype = compute_dtype(config.precision)
    student: Student = load_student(config.model, dtype, _token_loss(config)).eval()
    if config.lora is not None:
        torch.manual_seed(seed)
        layer = AdaptedLinear if config.kernels else peft.tuners.lora.Linear
        add_adapters(student.language_model, config.lora, layer)
    return student


def _token_loss(student: StudentConfig) -> TokenLoss:
    """Return the loss function that the settings name."""
    token_loss = probability_scaled_nll if student.loss == "dft" else weighted_nll
    return token_loss if student.kernels else with_full_logits(token_loss)


def add_adapters(
    language_model: Any, config: LoraConfig, layer: type[nn.Module] = AdaptedLinear
) -> None:
    """Add LoRA adapters to the target layers of a model, in place, and freeze all other parameters.

    The initial output of an adapter is 0, so the outputs of the model don't change. The adapters'
    random initial values come from torch's global generator.

    Args:
        language_model: a model of transformers without adapters.
        config: settings of the adapters; without ``target_modules`` every linear layer except the output
            head gets an adapter.
        layer: class that replaces a linear layer, `AdaptedLinear` or peft's own. A target of another
            type, such as an embedding, is replaced by peft's own class.

    Raises:
        KpodError: No layer has a name in ``target_modules``, or peft doesn't support such a layer.
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
        # The model is changed in place; peft's wrapper around the model isn't needed.
        peft.get_peft_model(language_model, settings)
    except ValueError as error:
        raise KpodError(f"student.lora.target_modules: {str(error).splitlines()[0]}") from error


def read_examples(job: TrainJob, store: Store) -> tuple[list[Example], list[Example]]:
    """Read the examples of a training from the store, as phase ``assess`` wrote them.

    Returns:
        The training examples, which are those with a question id in the table ``job.trained_on``, and
        the validation examples, which are all others; both in the order of the table ``job.examples``,
        and either may be empty.

    Raises:
        FileNotFoundError: A table doesn't exist.
    """
    ids = set(store.read_table(job.trained_on, ["question_id"])["question_id"].to_pylist())
    parts: tuple[list[Example], list[Example]] = [], []
    for example in Example.from_table(store.read_table(job.examples)):
        parts[example.question_id not in ids].append(example)
    return parts


def padding_id(job: TrainJob) -> int:
    """Return the token id with which the student's batches are padded.

    The tokenizer of ``job.student.model`` is loaded; errors are as in `load_tokenizer`.
    """
    return pad_id(load_tokenizer(job.student.model))


def finished_student(job: TrainJob, parameters: dict[str, Tensor]) -> Student:
    """Build a student with trained parameters, with its adapters merged into the layers.

    ``parameters`` are the trained parameters by name, whole tensors on any device, as `parameters_of`
    returns them; the student gets copies. The student is on the CPU and in evaluation mode, and takes
    padded batches. With adapters, torch's global generator is seeded, and all parameters of the result
    are frozen.

    Raises:
        RuntimeError: The names or shapes of the parameters aren't those of the student's trainable ones.
        Exception: An error of `load_plain_student`.
    """
    student = load_plain_student(job.student, job.seed)
    load_parameters(student, parameters)
    if job.student.lora is not None:
        merge_adapters(student.language_model)
    return student


def merge_adapters(language_model: Any) -> None:
    """Merge the LoRA adapters into the weights of their layers, in place, and remove the adapters.

    The result is an ordinary model of transformers, whose parameters stay frozen. Of each layer the
    active adapter is merged, unless peft's ``merge`` was called before; an inactive adapter is lost. A
    model without adapters is unchanged.
    """
    for name, module in list(language_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            language_model.set_submodule(name, module.get_base_layer())


def export_student(job: TrainJob, store: Store, parameters: dict[str, Tensor]) -> None:
    """Write a student with trained parameters to ``student/`` of the artifact, as a Hugging Face folder.

    The folder gets the float32 parameters, with adapters merged, the config and the tokenizer. Files of
    the same names are replaced one by one; other files in the folder stay. Of several workers, only one
    should call this function. torch's global generator is seeded if the student has adapters.
    ``parameters`` are as in `finished_student`.

    Raises:
        KpodError: The parameters, with adapters merged, aren't finite; nothing is written.
        Exception: An error of `finished_student`, `load_tokenizer` or `Store.upload`.
    """
    student = finished_student(job, parameters)
    check_finite(student, "student", "student.learning_rate")
    with temporary_folder() as folder:
        student.language_model.save_pretrained(folder)
        load_tokenizer(job.student.model).save_pretrained(folder)
        for file in sorted(folder.iterdir()):
            store.upload(file, f"{job.folder}/student/{file.name}")
