"""What an encoder-decoder student reads: batches for its encoder and its decoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from kpod_ray.data.batches import Batch, loss_tokens, padded
from kpod_ray.data.examples import Example


@dataclasses.dataclass(frozen=True)
class PairBatch(Batch):
    """A batch for an encoder and a decoder: ``rows`` and ``columns`` are the decoder's positions."""

    decoder_input_ids: Tensor
    """[B, M], right-padded: the start token, then what is written, without its last token."""

    def model_inputs(self) -> dict[str, Any]:
        """Return what a language model reads, by its names."""
        return {**super().model_inputs(), "decoder_input_ids": self.decoder_input_ids}

    def num_slots(self) -> int:
        """Return the positions that are computed, padding counted."""
        return super().num_slots() + self.decoder_input_ids.numel()

    def num_tokens(self) -> Tensor:
        """Return the positions that hold a token, a scalar; the decoder has one for each label."""
        return super().num_tokens() + len(self.labels)


def collate_pairs(
    examples: Sequence[Example], num_given_steps: Sequence[int], pad_id: int, start_id: int
) -> PairBatch:
    """Pad examples into a batch for an encoder and a decoder (Eq. 15).

    The encoder reads the question and the given steps, closed by the end-of-sequence token that every
    target has at its end; the decoder writes the other steps and the answer. Its input is moved one
    to the right, so that a token is predicted from the position with the token before it.
    """
    given_ids, written_ids, firsts = [], [], []
    for example, given in zip(examples, num_given_steps, strict=True):
        first = sum(step < given for step in example.token_steps)
        *target, end_id = example.target_ids
        given_ids.append([*example.prompt_ids, *target[:first], end_id])
        written_ids.append([start_id, *target[first:]])
        firsts.append(-first)
    input_ids, attention_mask = padded(given_ids, pad_id)
    return PairBatch(
        input_ids,
        attention_mask,
        **loss_tokens(examples, num_given_steps, firsts),
        decoder_input_ids=padded(written_ids, pad_id)[0],
    )
