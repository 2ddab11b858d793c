"""Packed batches for causal students: several sequences in one row, without padding.

Every layer of a causal language model except attention processes each token independently, and so runs
on a packed row unchanged. For attention, this module registers a function with transformers that
separates the sequences. `use_packing` installs the function in a student, after a test that the
sequences of a row don't influence each other.
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
"""Name under which `packed_attention` is registered in transformers."""


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    sequences: PackedLayout,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention within each sequence of a packed row; transformers calls this function.

    Args:
        module: the attention layer.
        query: [1, H, L, d].
        key: [1, G, L, d], where G divides H.
        value: [1, G, L, d].
        attention_mask: ignored.
        sequences: layout of the row, on the device of the other tensors.
        settings: transformers' attention options, such as ``scaling``. With a ``position_bias`` or
            ``dropout``, and for types and head sizes without a kernel, torch's attention is called for
            one sequence at a time.

    Returns:
        The output, [1, L, H, d], in the type of autocast if autocast is on, else in that of the
        arguments; and None in place of the attention weights.
    """
    states = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    # Rotary position embeddings return queries and keys in float32 even under autocast.
    if torch.is_autocast_enabled(query.device.type):
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
    """Return the output of torch's attention, computed one sequence at a time, [1, L, H, d]."""
    settings = {**settings, "is_causal": True}
    lengths = list(sequences.lengths)
    whole = (repeat_prefix(each, sequences).transpose(1, 2) for each in states)
    parts = zip(*(each.split(lengths, dim=2) for each in whole), strict=True)
    outputs = [sdpa_attention_forward(module, *part, None, **settings)[0] for part in parts]
    return merge_prefix(torch.cat(outputs, dim=1), sequences)


def _has_kernel(query: Tensor, value: Tensor) -> bool:
    """Return whether the flash attention kernel of `attend_on_gpu` supports these tensors."""
    size = query.shape[-1]
    is_small_float = query.dtype in (torch.bfloat16, torch.float16)
    return query.is_cuda and is_small_float and size == value.shape[-1] <= 256 and size % 8 == 0


AttentionInterface.register(NAME, packed_attention)


def use_packing(student: Student, max_length: int) -> bool:
    """Switch a student to packed batches, in place, if its model supports them.

    Afterwards the student's ``collate`` returns packed batches, and a forward pass of its model without
    ``sequences``, such as in ``generate``, raises a TypeError. A student that can't pack stays as
    before.

    Args:
        student: the student, with float32 parameters, on the CPU, in evaluation mode, not switched
            before.
        max_length: number of tokens of the longest sequence, prompt and target together.

    Returns:
        Whether the student now packs its batches. A student doesn't if it is an encoder-decoder, if a
        layer's attention window is shorter than ``max_length``, if the model's attention function can't
        be replaced, or if a layer passes state from one sequence of a row to the next.
    """
    if not isinstance(student, CausalStudent):
        return False
    model = student.language_model
    window = _window(model.config)
    if window is not None and window < max_length:
        return False
    # The bounds of the test are tighter than the rounding of bf16, so the test computes in float32.
    exact = type(student)(model, torch.float32, student.token_loss)
    alone = _states(exact, collate([_PROBE], [0], 0))
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation(NAME)
        first, second = (
            _states(exact, collate_packed([other, _PROBE], [0, 0])) for other in _OTHERS
        )
    except (TypeError, ValueError):  # this model's attention function can't be replaced
        model.set_attn_implementation(usual)
        return False
    # Bounds are relative to the largest state. Two neighbours of different content must leave the probe
    # unchanged but for rounding; another order of sums makes the packed and the padded result differ
    # more.
    largest = float(alone.abs().max())
    is_apart = torch.allclose(first, second, rtol=0, atol=1e-6 * largest)
    student.is_packing = is_apart and torch.allclose(first, alone, rtol=0, atol=1e-3 * largest)
    if not student.is_packing:
        model.set_attn_implementation(usual)
    return bool(student.is_packing)


_PROBE = Example("", [0, 1], [1, 0, 1], [1.0] * 3, [0, 0, 1], [False] * 3, [False] * 3, 1)
"""An example of token ids that every vocabulary has."""
_OTHERS = [
    Example("", [i], [i] * 4, [1.0] * 4, [0, 0, 0, 1], [False] * 4, [False] * 4, 1) for i in (0, 1)
]
"""Two examples that precede `_PROBE` in a row; only their content differs."""


@torch.no_grad()
def _states(student: Any, batch: Batch) -> Tensor:
    """Return the hidden states that predict the last example's N tokens, [N, d]."""
    states: Tensor = student.predicting_states(batch)
    return states[-len(_PROBE.target_ids) :]


def _window(config: Any) -> int | None:
    """Return the shortest attention window of a model's layers, in tokens; None without a window."""
    if getattr(config, "use_sliding_window", None) is False:
        return None
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((int(window) for window in windows if window), default=None)
