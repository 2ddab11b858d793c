"""Schedules without a boundary inside a rationale: who takes part, and when."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kpod_ray.algorithm.baseline_schedules import plan_at_once, plan_easy_to_hard
from kpod_ray.algorithm.schedule import ROUNDING, ScheduleSettings, plan_stages
from kpod_ray.algorithm.selection import select_by_merge

PROPERTY = hypothesis_settings(max_examples=80, deadline=None)
SETTINGS = ScheduleSettings(
    num_stages=4,
    full_stage=3,
    growth=0,
    initial_fraction=0.25,
    step_size=1,
    solver=partial(select_by_merge, diversity_weight=1.0),
)


def arrays(reasonings):
    flat = np.array([d for steps in reasonings for d in steps], float)
    return flat, np.array([len(steps) for steps in reasonings])


DIFFICULTY = st.one_of(st.integers(0, 3).map(float), st.floats(1e-3, 8))
REASONINGS = st.lists(st.lists(DIFFICULTY, min_size=1, max_size=5), min_size=1, max_size=8)


@st.composite
def some_settings(draw):
    num_stages = draw(st.integers(1, 6))
    return dataclasses.replace(
        SETTINGS,
        num_stages=num_stages,
        full_stage=draw(st.integers(1, num_stages)),
        growth=draw(st.sampled_from([0.0, 0.5, 2.0])),
        initial_fraction=draw(st.floats(0, 1)),
    )


def test_easy_to_hard_matches_a_hand_computation():
    # Sums 4, 6, 2, 4 with means 2, 6, 2, 1: order 3, 0, 2, 1 (0 before 2: equal means, by position).
    # B = 16, D = 4, 8, 12, 16: spent 4, 8, 10, 16 lets in 1, 2, 3, 4 questions.
    plan = plan_easy_to_hard(*arrays([[1, 3], [6], [2], [1, 1, 1, 1]]), SETTINGS)
    assert plan.included.astype(int).tolist() == [
        [0, 0, 0, 1],
        [1, 0, 0, 1],
        [1, 0, 1, 1],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]
    assert plan.ceilings == pytest.approx([4, 8, 12, 16, 16])
    assert plan.planned == pytest.approx([4, 8, 10, 16, 16])


def test_the_easiest_question_takes_part_even_if_it_is_above_the_ceiling():
    settings = dataclasses.replace(SETTINGS, initial_fraction=0)
    plan = plan_easy_to_hard(*arrays([[9], [8]]), settings)
    assert plan.included[0].tolist() == [False, True]


@PROPERTY
@given(REASONINGS, some_settings())
def test_easy_to_hard_keeps_its_laws(reasonings, settings):
    flat, num_steps = arrays(reasonings)
    plan = plan_easy_to_hard(flat, num_steps, settings)
    sums, means = np.array([sum(s) for s in reasonings]), np.array([np.mean(s) for s in reasonings])
    assert not plan.num_given_steps.any()
    assert (plan.included[1:] >= plan.included[:-1]).all()
    assert plan.included[settings.full_stage :].all()
    for included, ceiling, planned in zip(plan.included, plan.ceilings, plan.planned, strict=True):
        assert planned == pytest.approx(sums[included].sum())
        assert planned <= ceiling + 2 * ROUNDING * flat.sum() or included.sum() == 1
        if not included.all():
            assert means[included].max() <= means[~included].min() + 1e-12
            easiest_left = np.flatnonzero(~included)[np.argmin(means[~included])]
            assert planned + sums[easiest_left] > ceiling


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_of_the_questions_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    reasonings, order = (
        [rng.lognormal(0, 1, n) for n in rng.integers(1, 7, 40)],
        rng.permutation(40),
    )
    plan = plan_easy_to_hard(*arrays(reasonings), SETTINGS)
    shuffled = plan_easy_to_hard(*arrays([reasonings[i] for i in order]), SETTINGS)
    assert (shuffled.included == plan.included[:, order]).all()


@PROPERTY
@given(REASONINGS, some_settings())
def test_the_ceiling_is_that_of_the_progressive_plan(reasonings, settings):
    flat, num_steps = arrays(reasonings)
    progressive = plan_stages(flat, num_steps, np.zeros_like(num_steps), settings)
    whole = plan_easy_to_hard(flat, num_steps, settings)
    assert (whole.ceilings == progressive.ceilings).all()


@PROPERTY
@given(REASONINGS, st.integers(1, 5))
def test_at_once_emits_everything_from_the_start(reasonings, num_stages):
    flat, num_steps = arrays(reasonings)
    plan = plan_at_once(flat, num_steps, num_stages)
    assert plan.num_given_steps.shape == (num_stages + 1, len(reasonings))
    assert not plan.num_given_steps.any()
    assert plan.included.all()
    assert plan.planned == pytest.approx(np.full(num_stages + 1, flat.sum()))
    assert (plan.planned == plan.ceilings).all()


@pytest.mark.parametrize(
    ("flat", "num_steps", "message"),
    [([1, -1], [1, 1], "not negative"), ([1], [1, 1], "sums to 2"), ([], [], "no questions")],
)
def test_bad_input_is_refused(flat, num_steps, message):
    flat, num_steps = np.array(flat, float), np.array(num_steps)
    with pytest.raises(ValueError, match=message):
        plan_easy_to_hard(flat, num_steps, SETTINGS)
    with pytest.raises(ValueError, match=message):
        plan_at_once(flat, num_steps, 3)
