"""Batches for encoder-decoder students."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kpod_ray.data.batches import Batch, loss_tokens, padded
from kpod_ray.data.examples import Example


@dataclasses.dataclass(frozen=True)
class PairBatch(Batch):
    """A batch for an encoder and a decoder.

    ``input_ids`` and ``attention_mask``, [B, L], belong to the encoder; ``rows`` and ``columns`` are
    positions of the decoder.
    """

    decoder_input_ids: Tensor
    """[B, M], right-padded: the start token, then the supervised tokens without the last one. A row
    without supervised tokens holds the start token alone."""

    def model_inputs(self) -> dict[str, Any]:
        """Return the model's arguments: ``input_ids``, ``attention_mask`` and ``decoder_input_ids``."""
        return {**super().model_inputs(), "decoder_input_ids": self.decoder_input_ids}

    def num_slots(self) -> int:
        """Return the number of positions of encoder and decoder, padding included: B (L + M)."""
        return super().num_slots() + self.decoder_input_ids.numel()

    def num_tokens(self) -> Tensor:
        """Return the number of encoder tokens, without padding, plus that of labels, a scalar tensor."""
        # The decoder has one position for each label.
        return super().num_tokens() + len(self.labels)


def collate_pairs(
    examples: Sequence[Example],
    num_given_steps: Sequence[int],
    pad_id: int,
    start_id: int,
    end_id: int,
) -> PairBatch:
    """Pad examples into a batch, on the CPU, for an encoder and a decoder (Eq. 15).

    The encoder reads the question, the given steps and an end-of-sequence token. The decoder predicts
    the remaining steps and the answer, each token from the position that holds the preceding token.

    Args:
        examples: B examples, at least one; row i of the batch is example i.
        num_given_steps: [B], number of given steps of each example.
        pad_id: token id of padding.
        start_id: token id of the decoder's start token.
        end_id: token id that ends the encoder's input; nothing is added to the targets.

    Raises:
        ValueError: ``examples`` and ``num_given_steps`` have different lengths.
    """
    given_ids = []
    written_ids = []
    firsts = []
    for example, given in zip(examples, num_given_steps, strict=True):
        first = sum(step < given for step in example.token_steps)
        given_ids.append([*example.prompt_ids, *example.target_ids[:first], end_id])
        # The last label is predicted and not read.
        written_ids.append([start_id, *example.target_ids[first:-1]])
        firsts.append(-first)  # column 0 of the decoder predicts the target's token ``first``
    input_ids, attention_mask = padded(given_ids, pad_id)
    return PairBatch(
        input_ids,
        attention_mask,
        **loss_tokens(examples, num_given_steps, firsts),
        decoder_input_ids=padded(written_ids, pad_id)[0],
    )
