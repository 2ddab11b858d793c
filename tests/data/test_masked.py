"""Batches of the token weighter: what stands where, and what is random about it."""

import dataclasses
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.data.batching import worker_share
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.data.masked import (
    Draw,
    MaskedExample,
    MaskedSampler,
    build_masked_example,
    collate_masked,
    draw,
    hold_back,
    stack_noise,
)
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.records import Question

PAD = 0
QUESTION = Question("q", "How many?", "12", "number", (), "train", "")
SHORT = MaskedExample([1, 2], [10, 11], [5, 6], [7])
LONG = MaskedExample([3], [20, 21, 22, 23], [5, 6], [8, 9])


def examples(num_examples):
    return [MaskedExample([1], list(range(i + 1)), [5], [i]) for i in range(num_examples)]


def test_an_example_is_prompt_rationale_closing_and_answer(tokenizer):
    example = build_masked_example(tokenizer, QUESTION, "4 * 3 = 12.", "plain")
    assert example.prompt_ids == encode_prompt(tokenizer, "How many?", "plain")
    assert example.rationale_ids == encode_with_spans(tokenizer, "4 * 3 = 12.")[0]
    written = example.rationale_ids + example.closing_ids + example.answer_ids
    assert tokenizer.decode(written) == "4 * 3 = 12. Therefore, the answer is 12"
    assert tokenizer.decode(example.answer_ids) == " 12"


def test_a_batch_by_hand():
    batch = collate_masked([SHORT, LONG], [1, 3], PAD)
    # Row 0: prompt 1 2, prefix 10, closing 5 6, answer 7, which is predicted at the 6 before it.
    assert batch.input_ids.tolist() == [[1, 2, 10, 5, 6, 7, 0, 0], [3, 20, 21, 22, 5, 6, 8, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0], [1] * 8]
    assert batch.rationale_ids.tolist() == [[10, 11, 0, 0], [20, 21, 22, 23]]
    assert batch.rationale_mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.prefix_starts.tolist() == [2, 1]
    assert batch.prefix_lengths.tolist() == [1, 3]
    assert batch.answer_rows.tolist() == [0, 1, 1]
    assert batch.answer_columns.tolist() == [4, 5, 6]
    assert batch.answer_labels.tolist() == [7, 8, 9]


@given(lengths=st.tuples(st.integers(1, 2), st.integers(1, 4)))
@settings(max_examples=20, deadline=None)
def test_every_label_is_the_token_right_of_its_position(lengths):
    batch = collate_masked([SHORT, LONG], lengths, PAD)
    found = batch.input_ids[batch.answer_rows, batch.answer_columns + 1]
    assert torch.equal(found, batch.answer_labels)


def test_a_batch_moves_whole():
    moved = collate_masked([SHORT, LONG], [1, 3], PAD).to(torch.device("meta"))
    assert {getattr(moved, field.name).device.type for field in dataclasses.fields(moved)} == {
        "meta"
    }


def test_the_same_arguments_give_the_same_draw_and_others_another():
    drawn = {
        arguments: draw(
            LONG, whole_fraction=0.0, seed=arguments[0], train_step=arguments[1], index=arguments[2]
        )
        for arguments in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    }
    assert len({tuple(d.uniform.tolist()) for d in drawn.values()}) == 4
    again = draw(LONG, whole_fraction=0.0, seed=0, train_step=1, index=0)
    assert again.uniform.tolist() == drawn[0, 1, 0].uniform.tolist()
    assert (again.prefix_length, again.kept_share) == (
        drawn[0, 1, 0].prefix_length,
        drawn[0, 1, 0].kept_share,
    )


def test_prefixes_are_uniform_from_one_token_to_the_whole_rationale():
    drawn = [
        draw(LONG, whole_fraction=0.0, seed=0, train_step=step, index=0) for step in range(2000)
    ]
    counts = Counter(d.prefix_length for d in drawn)
    assert set(counts) == {1, 2, 3, 4}
    assert all(430 < count < 570 for count in counts.values())  # 500 expected, sigma 19
    shares = [d.kept_share for d in drawn]
    assert 0 < min(shares) < 0.01
    assert 0.99 < max(shares) < 1


def test_noise_has_one_number_a_token_and_is_padded_with_one_half():
    draws = [
        draw(example, whole_fraction=0.0, seed=0, train_step=0, index=0)
        for example in (SHORT, LONG)
    ]
    noise = stack_noise(draws)
    assert noise.shape == (2, 4)
    assert noise[0, :2].tolist() == draws[0].uniform.tolist()
    assert noise[0, 2:].tolist() == [0.5, 0.5]
    assert noise[1].tolist() == draws[1].uniform.tolist()


def test_an_epoch_visits_every_example_once_and_leaves_out_its_short_rest():
    sampler = MaskedSampler(examples(10), 4, 0.0, 0, PAD)
    epochs = [[sampler.indices(2 * epoch + i) for i in range(2)] for epoch in range(3)]
    for batches in epochs:
        visited = [i for batch in batches for i in batch]
        assert len(visited) == len(set(visited)) == 8
    assert len({str(batches) for batches in epochs}) == 3


def test_a_batch_is_never_larger_than_the_examples_are_many():
    sampler = MaskedSampler(examples(3), 8, 0.0, 0, PAD)
    assert sampler.batch_size == 3
    assert [sorted(sampler.indices(step)) for step in range(3)] == [[0, 1, 2]] * 3


@pytest.mark.parametrize("num_workers", [1, 2, 8])
def test_what_is_random_does_not_depend_on_the_number_of_workers(num_workers):
    sampler = MaskedSampler(examples(16), 8, 0.0, 0, PAD)
    whole = dict(zip(sampler.indices(5), sampler.batch(sampler.indices(5), 5)[1], strict=True))
    visited = []
    for rank in range(num_workers):
        mine = worker_share(sampler.indices(5), rank, num_workers)
        visited += mine
        for index, drawn in zip(mine, sampler.batch(mine, 5)[1], strict=True):
            assert drawn.prefix_length == whole[index].prefix_length
            assert drawn.uniform.tolist() == whole[index].uniform.tolist()
    assert sorted(visited) == sorted(whole)


def test_a_sampled_batch_holds_the_drawn_prefixes():
    sampler = MaskedSampler([SHORT, LONG], 2, 0.0, 0, PAD)
    batch, draws = sampler.batch([1, 0], 3)
    assert batch.prefix_lengths.tolist() == [d.prefix_length for d in draws]
    assert batch.answer_labels.tolist() == [8, 9, 7]
    assert isinstance(draws[0], Draw)


@given(
    num=st.integers(2, 60),
    fraction=st.floats(0.01, 0.99),
    most=st.integers(1, 10),
    seed=st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_held_back_and_training_rationales_are_disjoint_complete_and_neither_is_empty(
    num, fraction, most, seed
):
    training, held = hold_back([f"q{i}" for i in range(num)], fraction, most, seed)
    assert sorted(training + held) == list(range(num))
    assert training
    assert 1 <= len(held) <= most


def test_as_many_are_held_back_as_asked():
    ids = [f"q{i}" for i in range(40)]
    assert len(hold_back(ids, 0.1, 64, 0)[1]) == 4
    assert len(hold_back(ids, 0.5, 6, 0)[1]) == 6


def test_who_is_held_back_depends_on_the_ids_and_the_seed_but_on_no_order():
    ids = [f"q{i}" for i in range(40)]
    _, held = hold_back(ids, 0.25, 64, 0)
    _, of_reversed = hold_back(ids[::-1], 0.25, 64, 0)
    assert {ids[i] for i in held} == {ids[::-1][i] for i in of_reversed}
    assert set(hold_back(ids, 0.25, 64, 1)[1]) != set(held)


def test_a_single_rationale_is_trained_and_validated_on():
    assert hold_back(["q"], 0.1, 64, 0) == ([0], [0])


def test_a_share_of_the_rationales_is_read_whole():
    draws = [
        draw(LONG, whole_fraction=0.5, seed=0, train_step=step, index=0) for step in range(2000)
    ]
    length = len(LONG.rationale_ids)
    whole = sum(drawn.prefix_length == length for drawn in draws) / len(draws)
    assert abs(whole - (0.5 + 0.5 / length)) < 0.04
    every = [draw(LONG, whole_fraction=1.0, seed=0, train_step=s, index=0) for s in range(20)]
    assert {drawn.prefix_length for drawn in every} == {length}
