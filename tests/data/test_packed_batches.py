"""Packed examples: each stands whole where its places say, and what all begin with stands once."""

import dataclasses

import torch
from hypothesis import given, settings

from kpod_ray.data.batches import collate, collate_packed
from kpod_ray.kernels.packed_layout import place_sequences
from tests.data.some_examples import LONG, PAD, SHORT, drawn_examples


def test_places_by_hand():
    # The row is a shared prefix of 2 tokens, 1 of the first sequence and 3 of the second.
    sequences = place_sequences([3, 5], 2)
    assert sequences.bounds.tolist() == [0, 3, 8]
    assert sequences.row_places.tolist() == [0, 1, 2, 0, 1, 3, 4, 5]
    assert sequences.own_places.tolist() == [0, 1, 2, 5, 6, 7]
    assert sequences.shared_prefix_places.tolist() == [0, 1, 3, 4]


def test_a_packed_batch_reads_what_all_begin_with_once():
    # 2 and 1 are shared; the last token of either example is only a label.
    first = dataclasses.replace(SHORT, prompt_ids=[2, 1, 7])
    second = dataclasses.replace(LONG, prompt_ids=[2, 1])
    batch = collate_packed([first, second], [1, 0])
    assert len(batch.sequences.shared_prefix_places) == 2 * 2
    assert batch.input_ids.tolist() == [[2, 1, 7, 11, 12, 21, 22, 23, 24]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 5]]
    assert batch.sequences.lengths == (5, 6)
    assert batch.sequences.bounds.tolist() == [0, 5, 11]
    assert batch.labels.tolist() == [12, 99, 21, 22, 23, 24, 99]
    assert batch.rows.tolist() == [0] * 7
    assert batch.columns.tolist() == [3, 4, 1, 5, 6, 7, 8]  # 21 is predicted by the shared prefix
    assert batch.num_slots() == 9
    assert batch.num_tokens() == 6 + 7


def test_a_packed_batch_shares_nothing_where_that_saves_little():
    # 2 examples of 10 + 6 tokens, the last of which isn't read: 1 of 30 could be saved, or 2.
    def examples(num_alike):
        prompts = [[7] * num_alike + [i] * (10 - num_alike) for i in (8, 9)]
        return [dataclasses.replace(LONG, prompt_ids=[*prompt, 1]) for prompt in prompts]

    target = [21, 22, 23, 24]
    one, two = (collate_packed(examples(n), [0, 0]).input_ids.tolist() for n in (1, 2))
    assert one == [[7, *[8] * 9, 1, *target, 7, *[9] * 9, 1, *target]]
    assert two == [[7, 7, *[8] * 8, 1, *target, *[9] * 8, 1, *target]]


def test_alike_examples_keep_a_token_of_their_own():
    batch = collate_packed([SHORT, SHORT], [0, 0])
    assert batch.input_ids.tolist() == [[1, 2, 11, 12, 12]]
    assert batch.columns.tolist() == [1, 2, 3, 1, 2, 4]


@given(drawn=drawn_examples())
@settings(max_examples=100, deadline=None)
def test_every_label_is_predicted_where_its_example_stands(drawn):
    examples, given_steps = drawn
    batch = collate_packed(examples, given_steps)
    padded = collate(examples, given_steps, PAD)
    assert torch.equal(batch.labels, padded.labels)
    before = padded.input_ids[padded.rows, padded.columns]
    assert torch.equal(batch.input_ids[0, batch.columns], before)
    assert torch.equal(batch.position_ids[0, batch.columns], padded.columns)
    read = batch.input_ids[0, batch.sequences.row_places].tolist()
    assert read == [i for e in examples for i in (*e.prompt_ids, *e.target_ids[:-1])]
