"""Less memory for more time: what is inside a layer is computed again in the backward pass."""

from __future__ import annotations

from typing import Any

from transformers.modeling_layers import GradientCheckpointingLayer

from kpod_ray.errors import KpodError


def recompute_layers(language_model: Any) -> None:
    """Keep only what enters each layer (gradient checkpointing), in place.

    A layer does so in training mode alone. What is inside it stays in evaluation mode, so that nothing
    becomes random.

    Raises:
        KpodError: The model can't.
    """
    layers = [m for m in language_model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not language_model.supports_gradient_checkpointing or not layers:
        raise KpodError(
            f"a {language_model.config.model_type} model can't compute its layers again; "
            "set student.gradient_checkpointing=false"
        )
    language_model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in layers:
        layer.training = True
