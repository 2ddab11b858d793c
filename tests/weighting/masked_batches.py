"""Masked examples as batches, with random masks, random noise and losses of the weighter."""

import torch

from kpod_ray.config import LearnedWeighting
from kpod_ray.weighting.batches import Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss
from kpod_ray.weighting.sampler import MaskNoise

PAD = 258
TEMPERATURE = 0.7


def collated(examples, lengths, pad=PAD):
    prefixes = [Prefix(row, length, 1.0) for row, length in enumerate(lengths)]
    return collate_masked(examples, prefixes, pad)


def random_mask(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch.rationale_ids.shape, generator=generator)


def random_noise(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = batch.rationale_ids.shape
    rates = 0.15 + 0.7 * torch.rand(len(batch.rationale_ids), generator=generator)
    return MaskNoise(rates, random_mask(batch, seed), torch.randn(shape, generator=generator))


def keypoint_loss(weighter, predictor, **settings):
    return KeypointLoss(weighter, predictor, LearnedWeighting(**settings))
