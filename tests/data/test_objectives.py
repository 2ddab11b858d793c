"""What different methods train on, made from one example by hand."""

import pytest

from kpod_ray.config import StudentConfig
from kpod_ray.data.batches import collate, num_loss_tokens
from kpod_ray.data.examples import Example, training_example

# Two reasoning steps, "so 7" and "= 8", then the answer segment of two tokens.
EXAMPLE = Example(
    question_id="q",
    prompt_ids=[90, 91],
    target_ids=[1, 7, 30, 8, 50, 99],
    token_weights=[0.2, 0.9, 0.7, 0.8, 1.0, 1.0],
    token_steps=[0, 0, 1, 1, 2, 2],
    num_steps=2,
)


def made(**settings):
    return training_example(EXAMPLE, StudentConfig(model="m", **settings))


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_the_weights_of_the_weighting_leave_the_example_as_it_is(loss):
    assert made(token_weights="from_weighting", loss=loss) == EXAMPLE


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_uniform_weighs_every_token_1(loss):
    assert made(token_weights="uniform", loss=loss).token_weights == [1.0] * 6


def test_the_answer_alone_follows_the_question():
    example = made(target="answer")
    assert (example.prompt_ids, example.target_ids) == ([90, 91], [50, 99])
    batch = collate([example], [0], pad_id=0)
    assert batch.input_ids.tolist() == [[90, 91, 50, 99]]
    assert batch.labels.tolist() == [50, 99]
    assert not batch.in_rationale.any()


@pytest.mark.parametrize("given", [0, 1, 2])
def test_given_steps_take_nothing_from_the_answer_alone(given):
    assert num_loss_tokens(made(target="answer"), given) == 2
