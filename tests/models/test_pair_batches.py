"""Batches for an encoder and a decoder: what each reads, and what is in the loss."""

import dataclasses

import torch
from hypothesis import given, settings

from kpod_ray.data.batches import collate
from kpod_ray.models.pair_batches import collate_pairs
from tests.data.some_examples import EOS, LONG, PAD, SHORT, drawn_examples


def test_a_pair_by_hand_without_given_steps():
    batch = collate_pairs([SHORT, LONG], [0, 0], PAD, start_id=7, end_id=EOS)
    assert batch.input_ids.tolist() == [[1, 2, EOS, PAD], [3, 4, 5, EOS]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.decoder_input_ids.tolist() == [[7, 11, 12, PAD, PAD], [7, 21, 22, 23, 24]]
    assert batch.rows.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert batch.columns.tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert batch.labels.tolist() == [11, 12, EOS, 21, 22, 23, 24, EOS]
    assert batch.token_weights.tolist() == [0.25, 0.5, 1, 0.5, 0.75, 0.25, 1, 1]
    assert batch.in_rationale.tolist() == [True, True, False, True, True, True, False, False]


def test_a_pair_by_hand_with_given_steps_in_the_encoder():
    batch = collate_pairs([SHORT, LONG], [2, 1], PAD, start_id=7, end_id=EOS)
    assert batch.input_ids.tolist() == [[1, 2, 11, 12, EOS, PAD], [3, 4, 5, 21, 22, EOS]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    assert batch.decoder_input_ids.tolist() == [[7, PAD, PAD], [7, 23, 24]]
    assert batch.rows.tolist() == [0, 1, 1, 1]
    assert batch.columns.tolist() == [0, 0, 1, 2]
    assert batch.labels.tolist() == [EOS, 23, 24, EOS]
    assert batch.token_weights.tolist() == [1, 0.25, 1, 1]
    assert batch.in_rationale.tolist() == [False, True, False, False]


@given(drawn_examples())
@settings(deadline=None)
def test_a_pair_has_the_loss_tokens_of_a_causal_batch_and_each_token_once(drawn):
    examples, given_steps = drawn
    causal = collate(examples, given_steps, PAD)
    pair = collate_pairs(examples, given_steps, PAD, start_id=7, end_id=EOS)
    for name in ("rows", "labels", "token_weights", "in_rationale"):
        assert torch.equal(getattr(pair, name), getattr(causal, name))
    for row, example in enumerate(examples):
        read = pair.input_ids[row][pair.attention_mask[row] == 1].tolist()
        labels = pair.labels[pair.rows == row].tolist()
        assert read[:-1] + labels == [*example.prompt_ids, *example.target_ids]
        columns = pair.columns[pair.rows == row].tolist()
        assert columns == list(range(len(labels)))
        written = pair.decoder_input_ids[row].tolist()
        assert written[: len(labels)] == [7, *labels[:-1]]
        assert set(written[len(labels) :]) <= {PAD}


def test_a_pair_moves_to_a_device_as_a_pair():
    moved = collate_pairs([SHORT], [0], PAD, start_id=7, end_id=EOS).to(torch.device("meta"))
    tensors = [getattr(moved, field.name) for field in dataclasses.fields(moved)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.model_inputs().keys() == {"input_ids", "attention_mask", "decoder_input_ids"}


def test_the_encoder_reads_the_end_token_and_no_label_of_an_example_that_was_cut():
    cut = dataclasses.replace(LONG.with_target(range(3)), token_weights=[1.0] * 3, num_steps=2)
    batch = collate_pairs([cut], [1], PAD, start_id=7, end_id=EOS)
    given = sum(step < 1 for step in cut.token_steps)
    assert batch.input_ids.tolist() == [[3, 4, 5, *cut.target_ids[:given], EOS]]
    assert batch.labels.tolist() == list(cut.target_ids[given:])
    assert batch.decoder_input_ids.tolist() == [[7, *cut.target_ids[given:-1]]]


def test_an_example_without_a_target_has_no_label():
    empty = SHORT.with_target([])
    batch = collate_pairs([empty, LONG], [0, 0], PAD, start_id=7, end_id=EOS)
    assert batch.input_ids[0].tolist() == [1, 2, EOS, PAD]
    assert batch.labels.tolist() == list(LONG.target_ids)
