"""What is random about a train step of the weighter, and who is held back."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.sampler import worker_share
from kpod_ray.questions.splits import split_for_weighting
from kpod_ray.weighting.batches import MaskedExample
from kpod_ray.weighting.sampler import (
    MaskedSampler,
    MaskNoise,
    all_prefixes,
    draw,
    split_examples,
)

PAD = 0
SHORT = MaskedExample("s", [1, 2], [10, 11], [-1] * 2, [5, 6], [7], [2])
LONG = MaskedExample("l", [3], [20, 21, 22, 23], [-1] * 4, [5, 6], [8, 9], [2, 4])


def examples(num_examples):
    return [
        MaskedExample(f"q{i}", [1], list(range(i + 1)), [-1] * (i + 1), [5], [i], [i + 1])
        for i in range(num_examples)
    ]


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
    assert again.normal.tolist() == drawn[0, 1, 0].normal.tolist()
    assert (again.prefix_length, again.keep_rate) == (
        drawn[0, 1, 0].prefix_length,
        drawn[0, 1, 0].keep_rate,
    )


def test_prefixes_are_uniform_from_one_token_to_the_whole_rationale():
    drawn = [
        draw(LONG, whole_fraction=0.0, seed=0, train_step=step, index=0) for step in range(2000)
    ]
    counts = Counter(d.prefix_length for d in drawn)
    assert set(counts) == {1, 2, 3, 4}
    assert all(430 < count < 570 for count in counts.values())  # 500 expected, sigma 19
    rates = [d.keep_rate for d in drawn]
    assert 0.15 < min(rates) < 0.16
    assert 0.84 < max(rates) < 0.85


def test_noise_has_one_number_a_token_and_is_padded_with_one_half():
    draws = [
        draw(example, whole_fraction=0.0, seed=0, train_step=0, index=0)
        for example in (SHORT, LONG)
    ]
    noise = MaskNoise.of(draws)
    assert noise.uniform.shape == noise.normal.shape == (2, 4)
    assert noise.uniform[0, :2].tolist() == draws[0].uniform.tolist()
    assert noise.uniform[0, 2:].tolist() == [0.5, 0.5]
    assert noise.uniform[1].tolist() == draws[1].uniform.tolist()
    assert noise.normal[0, 2:].tolist() == [0, 0]
    assert noise.normal[1].tolist() == draws[1].normal.tolist()
    assert noise.keep_rates.tolist() == pytest.approx([d.keep_rate for d in draws])


def test_an_epoch_visits_every_example_once_and_leaves_out_its_short_rest():
    sampler = MaskedSampler(examples(10), 4, "sampled", 0.0, 0, PAD)
    epochs = [[sampler.indices(2 * epoch + i) for i in range(2)] for epoch in range(3)]
    for batches in epochs:
        visited = [i for batch in batches for i in batch]
        assert len(visited) == len(set(visited)) == 8
    assert len({str(batches) for batches in epochs}) == 3


def test_a_batch_is_never_larger_than_the_examples_are_many():
    sampler = MaskedSampler(examples(3), 8, "sampled", 0.0, 0, PAD)
    assert sampler.batch_size == 3
    assert [sorted(sampler.indices(step)) for step in range(3)] == [[0, 1, 2]] * 3


@pytest.mark.parametrize("num_workers", [1, 2, 8])
def test_what_is_random_does_not_depend_on_the_number_of_workers(num_workers):
    sampler = MaskedSampler(examples(16), 8, "sampled", 0.0, 0, PAD)
    batch, noise = sampler.batch(sampler.indices(5), 5)
    rows = {index: row for row, index in enumerate(sampler.indices(5))}
    visited = []
    for rank in range(num_workers):
        mine = worker_share(sampler.indices(5), rank, num_workers)
        visited += mine
        whole = [rows[index] for index in mine]
        own_batch, own_noise = sampler.batch(mine, 5)
        for own, expected in [
            (own_batch.sequences.prefix_lengths, batch.sequences.prefix_lengths),
            (own_noise.keep_rates, noise.keep_rates),
        ]:
            assert own.tolist() == expected[whole].tolist()
        longest = own_noise.uniform.shape[1]
        assert torch.equal(own_noise.uniform, noise.uniform[whole, :longest])
        assert torch.equal(own_noise.normal, noise.normal[whole, :longest])
    assert sorted(visited) == sorted(rows)


def test_a_sampled_batch_holds_the_drawn_prefixes():
    sampler = MaskedSampler([SHORT, LONG], 2, "sampled", 0.0, 0, PAD)
    batch, noise = sampler.batch([1, 0], 3)
    draws = [
        draw(example, whole_fraction=0.0, seed=0, train_step=3, index=index)
        for index, example in ((1, LONG), (0, SHORT))
    ]
    assert batch.sequences.prefix_lengths.tolist() == [d.prefix_length for d in draws]
    assert batch.sequences.input_ids[batch.sequences.is_answer].tolist() == [8, 9, 7]
    assert noise.uniform.tolist() == MaskNoise.of(draws).uniform.tolist()


@pytest.mark.parametrize("whole_fraction", [0.0, 0.25, 1.0])
def test_all_prefixes_have_the_probabilities_of_a_drawn_one(whole_fraction):
    prefixes = all_prefixes(7, 4, whole_fraction)
    assert [prefix.length for prefix in prefixes] == [1, 2, 3, 4]
    assert {prefix.row for prefix in prefixes} == {7}
    assert sum(prefix.share for prefix in prefixes) == pytest.approx(1)
    settings = {"whole_fraction": whole_fraction, "seed": 0, "index": 0}
    counts = Counter(draw(LONG, train_step=step, **settings).prefix_length for step in range(2000))
    for prefix in prefixes:
        assert abs(counts[prefix.length] / 2000 - prefix.share) < 0.04


def test_a_batch_of_all_prefixes_holds_each_rationale_once():
    sampler = MaskedSampler([SHORT, LONG], 2, "all", 0.0, 0, PAD)
    batch, noise = sampler.batch([1, 0], 3)
    assert len(batch.rationale_ids) == len(noise.keep_rates) == 2
    assert batch.sequences.rationale_rows.tolist() == [0, 0, 0, 0, 1, 1]
    assert batch.sequences.prefix_lengths.tolist() == [1, 2, 3, 4, 1, 2]
    assert batch.sequences.shares.tolist() == [0.25] * 4 + [0.5] * 2


def test_examples_are_split_by_the_settings():
    weighting = LearnedWeighting(validation_fraction=0.5, max_validation=3, global_batch_size=4)
    training, held = split_examples(examples(10), weighting, 0, PAD)
    assert (len(training.examples), len(held.examples)) == (7, 3)
    ids = {example.question_id for example in [*training.examples, *held.examples]}
    assert len(ids) == 10
    assert training.batch_size == 4


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
    training, held = split_for_weighting([f"q{i}" for i in range(num)], fraction, most, seed)
    assert sorted(training + held) == list(range(num))
    assert training
    assert 1 <= len(held) <= most


def test_as_many_are_held_back_as_asked():
    ids = [f"q{i}" for i in range(40)]
    assert len(split_for_weighting(ids, 0.1, 64, 0)[1]) == 4
    assert len(split_for_weighting(ids, 0.5, 6, 0)[1]) == 6


def test_who_is_held_back_depends_on_the_ids_and_the_seed_but_on_no_order():
    ids = [f"q{i}" for i in range(40)]
    _, held = split_for_weighting(ids, 0.25, 64, 0)
    _, of_reversed = split_for_weighting(ids[::-1], 0.25, 64, 0)
    assert {ids[i] for i in held} == {ids[::-1][i] for i in of_reversed}
    assert set(split_for_weighting(ids, 0.25, 64, 1)[1]) != set(held)


def test_a_single_rationale_is_trained_and_validated_on():
    assert split_for_weighting(["q"], 0.1, 64, 0) == ([0], [0])


def test_a_share_of_the_rationales_is_read_whole():
    draws = [
        draw(LONG, whole_fraction=0.5, seed=0, train_step=step, index=0) for step in range(2000)
    ]
    length = len(LONG.rationale_ids)
    whole = sum(drawn.prefix_length == length for drawn in draws) / len(draws)
    assert abs(whole - (0.5 + 0.5 / length)) < 0.04
    every = [draw(LONG, whole_fraction=1.0, seed=0, train_step=s, index=0) for s in range(20)]
    assert {drawn.prefix_length for drawn in every} == {length}
