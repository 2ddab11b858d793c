"""What different methods train on, made from one example by hand."""

import collections
import dataclasses

import pytest

from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import collate, num_loss_tokens
from kpod_ray.data.examples import Example
from kpod_ray.data.training_examples import supervised_example, training_example
from kpod_ray.models.pair_batches import collate_pairs

# Two reasoning steps, "so 7" and "= 8", then the answer segment of two tokens.
EXAMPLE = Example(
    question_id="q",
    prompt_ids=[90, 91],
    target_ids=[1, 7, 30, 8, 50, 99],
    token_weights=[0.2, 0.9, 0.7, 0.8, 1.0, 1.0],
    token_steps=[0, 0, 1, 1, 2, 2],
    token_keypoints=[False, True, True, True, False, False],
    token_boundaries=[True, False, True, False, False, False],
    num_steps=2,
)
LONG = dataclasses.replace(
    EXAMPLE,
    target_ids=range(42),
    token_weights=[*(j / 64 for j in range(40)), 1.0, 1.0],
    token_steps=[j // 10 for j in range(42)],
    token_keypoints=[False] * 42,
    token_boundaries=[j % 10 == 0 and j < 40 for j in range(42)],
    num_steps=4,
)
"""Four steps of ten tokens, all of different weights, then the answer segment."""


def made(example=EXAMPLE, seed=0, **settings):
    return training_example(example, StudentConfig(model="m", **settings), seed)


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_the_weights_of_the_weighting_leave_the_example_as_it_is(loss):
    assert made(token_weights="from_weighting", boundary=False, loss=loss) == EXAMPLE


@pytest.mark.parametrize("boundary", [True, False])
@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_uniform_weighs_every_token_1(loss, boundary):
    example = made(token_weights="uniform", loss=loss, boundary=boundary)
    assert example.token_weights == [1.0] * 6


def test_a_boundary_gives_the_first_token_of_a_step_the_weight_of_the_closing():
    assert made(boundary=True).token_weights == [1.0, 0.9, 1.0, 0.8, 1.0, 1.0]
    assert dataclasses.replace(made(), token_weights=EXAMPLE.token_weights) == EXAMPLE


# By hand: the first supervised step begins at weight 1, whatever is given.
@pytest.mark.parametrize(
    ("given", "weights"),
    [(0, [1.0, 0.9, 1.0, 0.8, 1.0, 1.0]), (1, [1.0, 0.8, 1.0, 1.0]), (2, [1.0, 1.0])],
)
@pytest.mark.parametrize("family", ["causal", "encoder_decoder"])
def test_the_loss_of_every_family_has_weight_1_at_a_boundary(given, weights, family):
    if family == "causal":
        batch = collate([made()], [given], 0)
    else:
        batch = collate_pairs([made()], [given], 0, start_id=5, end_id=6)
    assert batch.token_weights.tolist() == pytest.approx(weights)


@pytest.mark.parametrize("boundary", [True, False])
def test_shuffled_weights_are_those_of_the_same_tokens_in_another_order(boundary):
    learned = made(LONG, token_weights="from_weighting", boundary=boundary).token_weights
    shuffled = made(LONG, token_weights="shuffled", boundary=boundary).token_weights
    assert collections.Counter(shuffled[:40]) == collections.Counter(learned[:40])
    assert shuffled != learned
    assert shuffled[40:] == [1.0, 1.0]
    if boundary:  # has no part in the permutation
        assert shuffled[:40:10] == [1.0] * 4
        assert 1.0 not in {weight for j, weight in enumerate(shuffled[:40]) if j % 10}


def test_the_order_of_shuffled_weights_follows_from_seed_and_question():
    def order(seed, question_id="q"):
        example = dataclasses.replace(LONG, question_id=question_id)
        return made(example, seed, token_weights="shuffled").token_weights

    assert order(3) == order(3)
    assert order(3) != order(4)
    assert order(3) != order(3, "é")


def test_the_positions_of_shuffled_weights_are_uniform():
    places = collections.Counter()
    for seed in range(2000):
        example = made(EXAMPLE, seed, token_weights="shuffled", boundary=False)
        places[example.token_weights.index(0.9)] += 1
    assert set(places) == {0, 1, 2, 3}
    # Five standard deviations of a binomial with n = 2000 and p = 1/4 are 97.
    assert all(abs(count - 500) < 97 for count in places.values())


@pytest.mark.parametrize("token_weights", ["from_weighting", "uniform", "shuffled"])
def test_the_answer_alone_follows_the_question(token_weights):
    example = made(target="answer", token_weights=token_weights)
    assert (example.prompt_ids, example.target_ids) == ([90, 91], [50, 99])
    assert example.token_weights == [1.0, 1.0]
    batch = collate([example], [0], pad_id=0)
    assert batch.input_ids.tolist() == [[90, 91, 50, 99]]
    assert batch.labels.tolist() == [50, 99]
    assert not batch.in_rationale.any()
    assert supervised_example(EXAMPLE, StudentConfig(model="m", target="answer")) == example


@pytest.mark.parametrize("given", [0, 1, 2])
def test_given_steps_take_nothing_from_the_answer_alone(given):
    assert num_loss_tokens(made(target="answer"), given) == 2
