"""Logits of a chunk of tokens and their gradients on a GPU, for `linear_cross_entropy`.

Computes: the logits h W^T, [n, V], of a chunk of n tokens in the type of the matrix products. One Triton
kernel computes the loss and the log normalizer of each token in one pass over the logits. Another kernel
computes the gradient of the logits and overwrites the logits. Both kernels compute in float32.

Why: between the matrix products, torch's own operations read and write the logits many times, and copy
them to float32. These kernels read the logits twice and write them once.

Measured (docs/results.md, ``python -m benchmarks.loss --dtypes bf16 --rounds 3 --sides torch
liger``, NVIDIA H200, torch 2.11, Triton 3.6): 8,192 tokens and 151,936 rows took 18.1 ms and 956
MiB; full logits 27.9 ms and 14,504 MiB; the fused losses of torch 226.8 ms and 793 MiB, of Liger
100.0 ms and 1,067 MiB.

What would break it: use of the logits after `HeadOnGpu.differentiate`, which overwrites the logits;
logits that aren't contiguous; a label outside the vocabulary, which the kernels don't check; a version
of torch without ``out_dtype`` in ``addmm``, which a float32 head under bf16 needs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK_TOKENS = 512
"""Number of tokens of a chunk."""


class HeadOnGpu:
    """An output head with the logits of one chunk of n tokens at a time.

    For each chunk the methods must be called in this order: `losses`, `differentiate`, and then
    `hidden_gradient` and `add_head_gradient`.

    Args:
        head: [V, d], on a GPU.
        dtype: type of the matrix products; a head of another type is copied to this type.
    """

    chunk_tokens = CHUNK_TOKENS

    def __init__(self, head: Tensor, dtype: torch.dtype) -> None:
        self._head = head.to(dtype)
        self._buffer = self._head.new_empty(CHUNK_TOKENS, len(head))

    def losses(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses of a chunk of n tokens, at most `CHUNK_TOKENS`.

        Args:
            hidden: [n, d], hidden states in the type of the matrix products, on the head's GPU.
            labels: [n], int64, contiguous, on the same GPU, token ids from 0 to V - 1, which aren't
                checked.

        Returns:
            Each token's negative log-likelihood in nats, [n], float32, and whether its label has the
            highest logit (or shares it with others), [n] bool.
        """
        num_tokens = len(hidden)
        size = len(self._head)
        self._logits = torch.mm(hidden, self._head.T, out=self._buffer[:num_tokens])
        nll = torch.empty(num_tokens, dtype=torch.float32, device=hidden.device)
        self._log_norm = torch.empty_like(nll)
        is_top = torch.empty_like(nll, dtype=torch.bool)
        _losses[num_tokens,](
            self._logits, labels, nll, self._log_norm, is_top, size, BLOCK=8192, num_warps=16
        )
        return nll, is_top

    def differentiate(self, labels: Tensor, scales: Tensor) -> None:
        """Compute the gradients of the chunk's logits, scale * (softmax(logits) - onehot(label)).

        To be called once after each call of `losses`; `hidden_gradient` and `add_head_gradient` read the
        result.

        Args:
            labels: [n], the token ids that were given to `losses`.
            scales: [n], float32, contiguous, on the head's GPU, scale of each token's loss.
        """
        num_tokens, size = self._logits.shape
        grid = num_tokens, triton.cdiv(size, 4096)
        _gradients[grid](
            self._logits, labels, self._log_norm, scales, size, BLOCK=4096, num_warps=8
        )

    def hidden_gradient(self) -> Tensor:
        """Return the gradient with respect to the chunk's hidden states, [n, d].

        The result has the type of the matrix products. To be called after `differentiate`, before
        `losses` of the next chunk.
        """
        return self._logits @ self._head  # the buffer of the logits holds their gradient now

    def add_head_gradient(self, head_grad: Tensor, hidden: Tensor) -> None:
        """Add the chunk's contribution to the gradient with respect to the head.

        To be called after `differentiate`, before `losses` of the next chunk.

        Args:
            head_grad: [V, d], on the head's GPU, changed in place; float32 or of the type of the matrix
                products.
            hidden: [n, d], the hidden states that were given to `losses`.
        """
        left = self._logits.T
        if head_grad.dtype == left.dtype:
            head_grad.addmm_(left, hidden)
        else:  # bf16 products are added to a float32 gradient without a float32 copy of the logits
            torch.addmm(head_grad, left, hidden, out_dtype=head_grad.dtype, out=head_grad)


@triton.jit
def _losses(logits, labels, nll, log_norm, is_top, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0913
    """Compute loss, log normalizer and whether the label is the highest logit, for one token."""
    row = tl.program_id(0).to(tl.int64)
    values = logits + row * size
    largest, total = -float("inf"), 0.0
    # Online softmax: a block with a larger maximum rescales the sum so far, so one pass is enough.
    for start in range(0, size, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        x = tl.load(values + columns, mask=columns < size, other=-float("inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(x))
        total = total * tl.exp(largest - larger) + tl.sum(tl.exp(x - larger))
        largest = larger
    picked = tl.load(values + tl.load(labels + row)).to(tl.float32)
    log_total = largest + tl.log(total)
    tl.store(log_norm + row, log_total)
    tl.store(nll + row, log_total - picked)
    tl.store(is_top + row, picked >= largest)


@triton.jit
def _gradients(logits, labels, log_norm, scales, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Overwrite a block of one token's logits with their gradients."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    values = logits + row * size + columns
    x = tl.load(values, mask=columns < size, other=-float("inf")).to(tl.float32)
    p = tl.exp(x - tl.load(log_norm + row))
    p = tl.where(columns == tl.load(labels + row), p - 1.0, p)
    tl.store(values, p * tl.load(scales + row), mask=columns < size)
