"""The output head on a CPU, for `linear_cross_entropy`: a chunk's logits and their gradients.

Computes: logits W h^T, [V, n], of a chunk of n tokens in one buffer; their losses; their gradient,
which takes their place in the buffer; and its products with the head and the hidden states.

Why: one buffer serves logits, exponentials and gradients. The head is multiplied in blocks of rows,
so that under bf16 only one block has a copy in the type of the products. Logits stand one column a
token, which makes the products with the head fastest.

Measured (docs/results.md, ``python -m benchmarks.loss --dtypes fp32 --rounds 1``, 2 cores of an AMD
EPYC): 2,048 tokens took 230 MiB to 1,162 MiB of full logits and .91 of their time with 49,152 rows,
670 MiB to 3,571 MiB and .94 with 151,936. Blocks half as large took a bf16 training from 2,513 to
2,432 MiB (``python -m benchmarks.training --steps 3 --rounds 1 --settings full --only ours``).

What would break it: use of the logits after `HeadOnCpu.losses`, which overwrites them with
exponentials, or of the exponentials after `HeadOnCpu.differentiate`; a chunk larger than the first,
which allocates a second buffer.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_TOKENS = 224
"""Tokens whose logits exist at the same time."""
BLOCK_ROWS = 8_192
"""Rows of the head that are multiplied at the same time."""


class HeadOnCpu:
    """An output head [V, d]; it holds the logits of one chunk of n tokens at a time, in float32.

    Args:
        head: [V, d].
        dtype: of the products.
    """

    chunk_tokens = CHUNK_TOKENS

    def __init__(self, head: Tensor, dtype: torch.dtype) -> None:
        self._blocks, self._dtype, self._size = head.split(BLOCK_ROWS), dtype, len(head)
        self._buffer = torch.empty(0)

    def losses(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return each token's negative log-likelihood in nats, and whether it is the likeliest, [n].

        Args:
            hidden: [n, d].
            labels: [n].
        """
        logits = self._logits(hidden)
        picked = logits.gather(0, labels[None]).squeeze(0)
        largest = logits.amax(0)
        self._exponentials = logits.sub_(largest).exp_()  # in place: there is one copy at a time
        self._totals = self._exponentials.sum(0)
        return largest - picked + self._totals.log(), picked >= largest

    def differentiate(self, labels: Tensor, scales: Tensor) -> None:
        """Turn the logits of the last chunk into their gradients: scale * (p - onehot(label)).

        What is kept is [V, n], to be multiplied by scale / total.
        """
        self._gradient = self._exponentials.scatter_add_(0, labels[None], -self._totals[None])
        self._scales = (scales / self._totals)[:, None]

    def hidden_gradient(self) -> Tensor:
        """Return the gradient of the chunk's hidden states, [n, d], float32."""
        total = torch.zeros(len(self._scales), self._blocks[0].shape[1])
        rows = self._gradient.split(BLOCK_ROWS)
        for block, part in zip(self._blocks, rows, strict=True):
            if part.dtype == block.dtype == self._dtype:
                total.addmm_(part.T, block)
            else:
                total += part.to(self._dtype).T @ block.to(self._dtype)
        return total.mul_(self._scales)

    def add_head_gradient(self, head_grad: Tensor, hidden: Tensor) -> None:
        """Add the chunk's part to the gradient of the head, [V, d], in place."""
        scaled = (self._scales * hidden).to(self._dtype)
        parts = self._gradient.split(BLOCK_ROWS)
        for rows, part in zip(head_grad.split(BLOCK_ROWS), parts, strict=True):
            if rows.dtype == self._dtype:
                rows.addmm_(part, scaled)
            else:
                rows += part.to(self._dtype) @ scaled

    def _logits(self, hidden: Tensor) -> Tensor:
        """Return the products of the head with some tokens, [n, d]: [V, n], float32."""
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
