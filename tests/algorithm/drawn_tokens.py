"""Random inputs of the losses over tokens."""

import torch

from kpod_ray.kernels.linear_cross_entropy_cpu import CHUNK_TOKENS

SEVERAL_CHUNKS = 2 * CHUNK_TOKENS + 77


def drawn(num_tokens, *, seed=0, vocabulary=50, width=8, dtype=torch.float32):
    """Return random hidden states and head (both wanting gradients), labels and token weights."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_tokens, width, generator=generator).to(dtype).requires_grad_()
    head = torch.randn(vocabulary, width, generator=generator).requires_grad_()
    labels = torch.randint(vocabulary, (num_tokens,), generator=generator)
    return hidden, head, labels, torch.rand(num_tokens, generator=generator)
