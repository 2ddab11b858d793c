"""Several sequences in one row, without padding: attention that keeps them apart.

A packed row costs what its tokens cost. Everything in a causal language model but attention looks at one
token at a time; attention is computed for each sequence on its own, on a GPU by one kernel for all.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from kpod_ray.data.batches import Batch, collate, collate_packed
from kpod_ray.data.examples import Example
from kpod_ray.kernels.packed_attention import (
    attend_on_cpu,
    attend_on_gpu,
    merge_prefix,
    repeat_prefix,
)
from kpod_ray.kernels.packed_layout import PackedLayout
from kpod_ray.models.student import CausalStudent, Student

NAME = "kpod_packed"
"""Of the attention among those of transformers."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sequences: PackedLayout,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Let every token see those before it in its own sequence.

    Args:
        module: the attention layer.
        query: [1, H, L, d].
        key: [1, G, L, d], G heads of keys for H heads of queries.
        value: [1, G, L, d].
        attention_mask: None.
        sequences: where each stands in the row.
        settings: scaling and the like, for torch's scaled dot product attention.

    Returns:
        [1, L, H, d], and no attention weights.
    """
    states = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if torch.is_autocast_enabled(query.device.type):  # positions make float32 of them
        dtype = torch.get_autocast_dtype(query.device.type)
        states = states[0].to(dtype), states[1].to(dtype), states[2].to(dtype)
    if settings.get("position_bias") is None and not settings.get("dropout"):
        scale = settings.get("scaling")
        if query.device.type == "cpu" and query.shape[-1] == value.shape[-1]:
            return attend_on_cpu(states, sequences, scale), None
        if _has_kernel(states[0], states[2]):
            return attend_on_gpu(states, sequences, scale), None
    return _attend_in_turn(module, states, sequences, settings), None


def _attend_in_turn(
    module: nn.Module,
    states: tuple[Tensor, Tensor, Tensor],
    sequences: PackedLayout,
    settings: dict[str, Any],
) -> Tensor:
    """Return what torch's own attention makes of each sequence, [1, L, H, d]."""
    settings, lengths = {**settings, "is_causal": True}, list(sequences.lengths)
    whole = (repeat_prefix(each, sequences).transpose(1, 2) for each in states)
    parts = zip(*(each.split(lengths, dim=2) for each in whole), strict=True)
    outputs = [sdpa_attention_forward(module, *part, None, **settings)[0] for part in parts]
    return merge_prefix(torch.cat(outputs, dim=1), sequences)


def _has_kernel(query: Tensor, value: Tensor) -> bool:
    """Whether `attend_on_gpu` takes them: flash attention's kernel."""
    size, is_small_float = query.shape[-1], query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and is_small_float and size == value.shape[-1] <= 256 and size % 8 == 0


AttentionInterface.register(NAME, packed_attention)


def use_packing(student: Student, max_length: int) -> bool:
    """Make a student read its batches packed from now on, if it can.

    Args:
        student: changed in place.
        max_length: tokens of the longest sequence.

    Returns:
        Whether it can. It can't when it is no causal model, when a layer sees fewer tokens than that, or
        when some layers carry on from one sequence to the next.
    """
    if not isinstance(student, CausalStudent):
        return False
    model = student.language_model
    window = _window(model.config)
    if window is not None and window < max_length:
        return False
    exact = type(student)(model, torch.float32, student.token_loss)
    alone = _states(exact, collate([_PROBE], [0], 0))
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
        first, second = (
            _states(exact, collate_packed([other, _PROBE], [0, 0])) for other in _OTHERS
        )
    except (TypeError, ValueError):  # its attention can't be replaced
        model.set_attn_implementation(usual)
        return False
    largest = float(alone.abs().max())
    is_apart = torch.allclose(first, second, rtol=0, atol=1e-6 * largest)
    student.is_packing = is_apart and torch.allclose(first, alone, rtol=0, atol=1e-3 * largest)
    if not student.is_packing:
        model.set_attn_implementation(usual)
    return bool(student.is_packing)


_PROBE = Example("", [0, 1], [1, 0, 1], [1.0] * 3, [0, 0, 1], 1)
_OTHERS = [Example("", [i], [i] * 4, [1.0] * 4, [0, 0, 0, 1], 1) for i in (0, 1)]


@torch.no_grad()
def _states(student: Any, batch: Batch) -> Tensor:
    """Return what predicts the tokens of the last example, [N, d]."""
    states: Tensor = student.predicting_states(batch)
    return states[-len(_PROBE.target_ids) :]


def _window(config: Any) -> int | None:
    """Return how many tokens a token sees in the layer that sees fewest, None for all."""
    if getattr(config, "use_sliding_window", None) is False:
        return None
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(window) for window in windows if window), default=None)
