"""Low-rank adapters (LoRA) inside a language model: put in before training, merged after it."""

from __future__ import annotations

from typing import Any

import peft
from peft.tuners.lora import LoraLayer
from torch import nn

from kpod_ray.config import LoraConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.adapted_linear import AdaptedLinear


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
