"""Logits of a chunk of tokens and their gradients on a CPU, for `linear_cross_entropy`.

Computes: the logits W h^T, [V, n], of a chunk of n tokens in a buffer; the losses of the tokens; the
gradient of the logits, in the same buffer; and the products of this gradient with the head and with the
hidden states.

Why: one buffer serves logits, exponentials and gradients. The head is multiplied in blocks of rows, so
that under bf16 only one block at a time is copied to the type of the products. The logits of a token
form a column, which makes the products with the head fastest.

Measured (docs/results.md, ``python -m benchmarks.loss --dtypes fp32 --rounds 1``, 2 cores of an AMD
EPYC): 2,048 tokens took 230 MiB to 1,162 MiB of full logits and .91 of their time with 49,152 rows, 670
MiB to 3,571 MiB and .94 with 151,936. Blocks half as large took a bf16 training from 2,513 to 2,432 MiB
(``python -m benchmarks.training --steps 3 --rounds 1 --settings full --only ours``).

What would break it: use of the logits after `HeadOnCpu.losses`, which overwrites the logits with
exponentials, or of the exponentials after `HeadOnCpu.differentiate`; a chunk larger than the first,
which allocates a second buffer.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_TOKENS = 224
"""Number of tokens of a chunk."""
BLOCK_ROWS = 8_192
"""Number of rows of the head in one matrix product."""


class HeadOnCpu:
    """An output head with the float32 logits of one chunk of n tokens at a time.

    For each chunk the methods must be called in this order: `losses`, `differentiate`, and then
    `hidden_gradient` and `add_head_gradient`. The first chunk should be the largest, since a larger one
    allocates a new buffer.

    Args:
        head: [V, d], on the CPU, of any floating-point type, not copied.
        dtype: type of the matrix products.
    """

    chunk_tokens = CHUNK_TOKENS

    def __init__(self, head: Tensor, dtype: torch.dtype) -> None:
        self._blocks = head.split(BLOCK_ROWS)
        self._dtype = dtype
        self._size = len(head)
        self._buffer = torch.empty(0)

    def losses(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the losses of a chunk of n tokens, at most `CHUNK_TOKENS`.

        Args:
            hidden: [n, d], hidden states in the type of the matrix products.
            labels: [n], int64, token ids from 0 to V - 1.

        Returns:
            Each token's negative log-likelihood in nats, [n], float32, and whether its label has the
            highest logit (or shares it with others), [n] bool.

        Raises:
            RuntimeError: A label isn't from 0 to V - 1.
        """
        logits = self._logits(hidden)
        picked = logits.gather(0, labels[None]).squeeze(0)
        largest = logits.amax(0)
        # The exponentials overwrite the logits. Without the maximum subtracted, they could overflow.
        self._exponentials = logits.sub_(largest).exp_()
        self._totals = self._exponentials.sum(0)
        return largest - picked + self._totals.log(), picked >= largest

    def differentiate(self, labels: Tensor, scales: Tensor) -> None:
        """Compute the gradients of the chunk's logits, scale * (softmax(logits) - onehot(label)).

        To be called once after each call of `losses`; `hidden_gradient` and `add_head_gradient` read the
        result.

        Args:
            labels: [n], the token ids that were given to `losses`.
            scales: [n], float32, scale of each token's loss.
        """
        # With e = exponentials and t = their sum, the gradient is (scale / t) * (e - t * onehot(label)).
        # The buffer holds only the second factor. The first factor is applied to the products, which
        # have d values a token in place of V.
        self._gradient = self._exponentials.scatter_add_(0, labels[None], -self._totals[None])
        self._scales = (scales / self._totals)[:, None]

    def hidden_gradient(self) -> Tensor:
        """Return the gradient with respect to the chunk's hidden states, [n, d], float32.

        To be called after `differentiate`, before `losses` of the next chunk.
        """
        total = torch.zeros(len(self._scales), self._blocks[0].shape[1])
        rows = self._gradient.split(BLOCK_ROWS)
        for block, part in zip(self._blocks, rows, strict=True):
            if part.dtype == block.dtype == self._dtype:
                total.addmm_(part.T, block)
            else:
                total += part.to(self._dtype).T @ block.to(self._dtype)
        return total.mul_(self._scales)

    def add_head_gradient(self, head_grad: Tensor, hidden: Tensor) -> None:
        """Add the chunk's contribution to the gradient with respect to the head.

        To be called after `differentiate`, before `losses` of the next chunk.

        Args:
            head_grad: [V, d], float32, on the CPU, changed in place.
            hidden: [n, d], the hidden states that were given to `losses`.
        """
        scaled = (self._scales * hidden).to(self._dtype)
        parts = self._gradient.split(BLOCK_ROWS)
        for rows, part in zip(head_grad.split(BLOCK_ROWS), parts, strict=True):
            if rows.dtype == self._dtype:
                rows.addmm_(part, scaled)
            else:
                rows += part.to(self._dtype) @ scaled

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states [n, d] in the buffer, [V, n], float32."""
        num_logits = self._size * len(hidden)
        if self._buffer.numel() < num_logits:  # the first chunk is the largest
            self._buffer = torch.empty(num_logits)
        logits = self._buffer[:num_logits].view(self._size, len(hidden))
        for block, rows in zip(self._blocks, logits.split(BLOCK_ROWS), strict=True):
            if rows.dtype == block.dtype == self._dtype:
                torch.mm(block, hidden.T, out=rows)
            else:
                rows.copy_(block.to(self._dtype) @ hidden.T)
        return logits
