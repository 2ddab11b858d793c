"""Padding: what is trained on, where its loss starts, and the one shift."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings

from kpod_ray.data.batches import collate, loss_weight, num_loss_tokens, padded
from tests.data.some_examples import EOS, LONG, PAD, SHORT, drawn_examples


def test_padding_by_hand():
    ids, mask = padded([[1, 2], [], [3]], 9)
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [9, 9], [3, 9]], [[1, 1], [0, 0], [1, 0]])
    ids, mask = padded([[1, 2], [3]], 9, "left")
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [9, 3]], [[1, 1], [0, 1]])
    assert ids.dtype == mask.dtype == torch.int64


def test_a_batch_by_hand():
    # Row 0, one step given: 12 stands at 3 and is predicted at 2, the end of sequence at 3.
    # Row 1, none given: 21 stands at 3 and is predicted by the last token of the prompt, at 2.
    batch = collate([SHORT, LONG], [1, 0], PAD)
    assert batch.input_ids.tolist() == [[1, 2, 11, 12, 99, 0, 0, 0], [3, 4, 5, 21, 22, 23, 24, 99]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0], [1] * 8]
    assert batch.rows.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert batch.columns.tolist() == [2, 3, 2, 3, 4, 5, 6]
    assert batch.labels.tolist() == [12, 99, 21, 22, 23, 24, 99]
    assert batch.token_weights.tolist() == [0.5, 1, 0.5, 0.75, 0.25, 1, 1]
    assert batch.in_rationale.tolist() == [True, False, True, True, True, False, False]
    assert batch.is_keypoint.tolist() == [False, False, False, True, True, False, False]


@given(drawn=drawn_examples())
@settings(max_examples=100, deadline=None)
def test_every_label_is_the_token_right_of_its_position(drawn):
    batch = collate(*drawn, PAD)
    assert torch.equal(batch.input_ids[batch.rows, batch.columns + 1], batch.labels)
    assert batch.attention_mask[batch.rows, batch.columns + 1].all()


@given(drawn=drawn_examples())
@settings(max_examples=100, deadline=None)
def test_the_loss_is_on_exactly_the_tokens_of_steps_not_given(drawn):
    examples, given_steps = drawn
    batch = collate(examples, given_steps, PAD)
    for row, (example, num_given) in enumerate(zip(examples, given_steps, strict=True)):
        first = example.token_steps.index(num_given)
        assert batch.labels[batch.rows == row].tolist() == example.target_ids[first:]
        weights = batch.token_weights[batch.rows == row].tolist()
        assert weights == example.token_weights[first:]
        inside = [step < example.num_steps for step in example.token_steps[first:]]
        assert batch.in_rationale[batch.rows == row].tolist() == inside
        keypoints = batch.is_keypoint[batch.rows == row].tolist()
        assert keypoints == example.token_keypoints[first:]


@given(drawn=drawn_examples())
@settings(max_examples=100, deadline=None)
def test_loss_tokens_and_their_weight_are_counted_as_the_batch_has_them(drawn):
    examples, given_steps = drawn
    batch = collate(examples, given_steps, PAD)
    pairs = list(zip(examples, given_steps, strict=True))
    assert sum(num_loss_tokens(*pair) for pair in pairs) == len(batch.labels)
    total = sum(loss_weight(*pair) for pair in pairs)
    assert total == pytest.approx(batch.token_weights.sum().item())


@pytest.mark.parametrize("example", [SHORT, LONG])
def test_no_given_steps_put_the_whole_target_from_first_to_end_in_the_loss(example):
    batch = collate([example], [0], PAD)
    assert batch.columns[0] == len(example.prompt_ids) - 1
    assert batch.labels.tolist() == example.target_ids
    assert batch.labels[-1] == EOS


@pytest.mark.parametrize(("example", "answer"), [(SHORT, [EOS]), (LONG, [24, EOS])])
def test_all_steps_given_leave_the_answer_alone(example, answer):
    batch = collate([example], [example.num_steps], PAD)
    assert batch.labels.tolist() == answer
    assert not batch.in_rationale.any()


@given(drawn=drawn_examples(), other=drawn_examples())
@settings(max_examples=50, deadline=None)
def test_an_example_is_batched_the_same_in_any_company(drawn, other):
    examples, given_steps = drawn
    alone = collate(examples, given_steps, PAD)
    together = collate([*examples, *other[0]], [*given_steps, *other[1]], PAD)
    mine = together.rows < len(examples)
    for name in ("rows", "columns", "labels", "token_weights", "in_rationale"):
        assert torch.equal(getattr(together, name)[mine], getattr(alone, name))
    length = alone.input_ids.shape[1]
    assert torch.equal(together.input_ids[: len(examples), :length], alone.input_ids)


def test_counts_by_hand():
    assert [num_loss_tokens(LONG, given) for given in range(3)] == [5, 3, 2]
    assert [loss_weight(LONG, given) for given in range(3)] == [3.5, 2.25, 2]


def test_examples_and_given_steps_of_different_number_raise():
    with pytest.raises(ValueError, match="zip"):
        collate([SHORT, LONG], [0], PAD)


def test_a_batch_moves_whole():
    batch = collate([SHORT, LONG], [1, 0], PAD)
    moved = batch.to(torch.device("meta"))
    assert {getattr(moved, field.name).device.type for field in dataclasses.fields(moved)} == {
        "meta"
    }
