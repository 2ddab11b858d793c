"""A schedule that is planned again, stage by stage, as difficulties change."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kpod_ray.algorithm.schedule import ROUNDING, difficulty_ceiling, plan_stages, replan
from kpod_ray.algorithm.selection import select_by_merge
from tests.algorithm.test_schedule import PROPERTY, SETTINGS, plan_of, planning


def flat_case(reasonings, cluster_ids):
    """The arrays that a plan is made from."""
    flat = np.array([d for steps in reasonings for d in steps], float)
    return flat, np.array([len(steps) for steps in reasonings]), np.array(cluster_ids)


def test_a_replanned_stage_matches_a_hand_computation():
    # Stage 1 of the plan worked out above: [1, 0, 0, 1] given, H = 9 of 18. Now the steps that are
    # emitted have become easier, B' = 4 + .5 + 1 + 1 + .5 + 1 + 5 = 13 and H' = 4; stage 2 is T, so
    # the ceiling is 13 and its budget 9: both remaining steps, 4 and 5.
    flat, num_steps, clusters = flat_case([[4, 0.5], [1, 1], [0.5, 1], [5]], [0, 0, 1, 1])
    plan = replan(2, np.array([1, 0, 0, 1]), flat, num_steps, clusters, SETTINGS)
    assert plan.first_stage == 2
    assert plan.num_given_steps.tolist() == [[0, 0, 0, 0]]
    assert plan.ceilings == pytest.approx([13])
    assert plan.planned == pytest.approx([13])


def test_steps_that_got_harder_than_the_ceiling_move_nothing():
    # D'(1) = 16 (1/3 + 2/3 / 4) = 8; emitted are 6 + 3 = 9.
    flat, num_steps, clusters = flat_case([[4, 6], [0, 3], [3]], [0, 0, 1])
    given_steps = np.array([1, 1, 1])
    plan = replan(1, given_steps, flat, num_steps, clusters, SETTINGS)
    assert plan.num_given_steps.tolist() == [given_steps.tolist()]
    assert plan.ceilings == pytest.approx([8])
    assert plan.planned == pytest.approx([9])


@PROPERTY
@given(planning())
def test_replanning_with_the_first_difficulties_is_the_plan(case):
    reasonings, cluster_ids, settings = case
    arrays = flat_case(reasonings, cluster_ids)
    plan = plan_stages(*arrays, settings)
    for stage in range(1, settings.num_stages + 1):
        again = replan(stage, plan.num_given_steps[stage - 1], *arrays, settings)
        assert (again.num_given_steps[0] == plan.num_given_steps[stage]).all()
        assert again.ceilings[0] == plan.ceilings[stage]
        assert again.planned[0] == pytest.approx(plan.planned[stage])


@PROPERTY
@given(planning(), st.integers(0, 2**32))
def test_a_replanned_schedule_keeps_the_laws_of_a_plan(case, seed):
    reasonings, cluster_ids, settings = case
    flat, num_steps, clusters = flat_case(reasonings, cluster_ids)
    rng = np.random.default_rng(seed)
    given_steps = plan_stages(flat, num_steps, clusters, settings).num_given_steps[0]
    starts = np.cumsum(num_steps) - num_steps
    for stage in range(1, settings.num_stages + 1):
        flat = flat * rng.uniform(0, 1.5, flat.size)  # a student that learns, mostly
        plan = replan(stage, given_steps, flat, num_steps, clusters, settings)
        after = plan.num_given_steps[0]
        assert plan.ceilings[0] == pytest.approx(
            difficulty_ceiling(
                stage,
                total=flat.sum(),
                initial_fraction=settings.initial_fraction,
                growth=settings.growth,
                full_stage=settings.full_stage,
            )
        )
        if stage > settings.full_stage:
            assert not after.any()
        else:
            unmoved = after == given_steps
            moved = after == np.maximum(given_steps.astype(int) - settings.step_size, 0)
            assert (unmoved | moved).all()
            fits = plan.planned[0] <= plan.ceilings[0] + 2 * ROUNDING * flat.sum()
            assert fits or unmoved.all()
        emitted = sum(
            flat[s + c : s + n].sum() for s, c, n in zip(starts, after, num_steps, strict=True)
        )
        assert plan.planned[0] == pytest.approx(emitted)
        given_steps = after


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 12.0]), st.integers(1, 3))
def test_the_order_of_the_questions_does_not_matter_to_a_replanned_stage(seed, beta, stage):
    rng = np.random.default_rng(seed)
    reasonings = [rng.lognormal(0, 1, n) for n in rng.integers(1, 7, 40)]
    cluster_ids, order = rng.integers(0, 4, 40), rng.permutation(40)
    given_steps = np.array([int(rng.integers(0, len(steps) + 1)) for steps in reasonings])
    settings = dataclasses.replace(SETTINGS, solver=partial(select_by_merge, diversity_weight=beta))
    plan = replan(stage, given_steps, *flat_case(reasonings, cluster_ids), settings)
    shuffled = replan(
        stage,
        given_steps[order],
        *flat_case([reasonings[i] for i in order], cluster_ids[order]),
        settings,
    )
    assert (shuffled.num_given_steps[0] == plan.num_given_steps[0, order]).all()
    assert shuffled.planned == plan.planned


@PROPERTY
@given(planning())
def test_equal_questions_get_harder_in_the_order_of_their_ids(case):
    # The same questions several times: of two alike in every way, the first is never behind.
    reasonings, cluster_ids, settings = case
    pairs = [pair for pair in zip(reasonings, cluster_ids, strict=True) for _ in range(2)]
    plan = plan_of([steps for steps, _ in pairs], [k for _, k in pairs], settings)
    first, second = plan.num_given_steps[:, 0::2], plan.num_given_steps[:, 1::2]
    assert (first <= second).all()


@pytest.mark.parametrize(
    ("stage", "given_steps", "message"),
    [
        (0, [0, 0], "stage is 0"),
        (1, [0], "num_given_steps has shape"),
        (1, [3, 0], "from 0 to"),
        (1, [0, -1], "from 0 to"),
    ],
)
def test_a_bad_replan_is_refused(stage, given_steps, message):
    arrays = flat_case([[1, 1], [1]], [0, 0])
    with pytest.raises(ValueError, match=message):
        replan(stage, np.array(given_steps), *arrays, SETTINGS)


@pytest.mark.parametrize(
    ("flat", "num_steps", "cluster_ids", "message"),
    [([1, math.nan], [1, 1], [0, 0], "finite"), ([1, 1], [1, 1], [0], "cluster_ids")],
)
def test_bad_difficulties_are_refused_by_a_replan(flat, num_steps, cluster_ids, message):
    arrays = np.array(flat, float), np.array(num_steps), np.array(cluster_ids)
    with pytest.raises(ValueError, match=message):
        replan(1, np.zeros(2, int), *arrays, SETTINGS)
