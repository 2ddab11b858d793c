import dataclasses
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kpod_ray.algorithm.schedule import ROUNDING, ScheduleSettings, difficulty_ceiling, plan_stages
from kpod_ray.algorithm.selection import select_by_merge, select_by_thresholds

MERGE = partial(select_by_merge, diversity_weight=1.0)
PROPERTY = hypothesis_settings(max_examples=60, deadline=None)
SETTINGS = ScheduleSettings(
    num_stages=3, full_stage=2, growth=1, initial_fraction=1 / 3, step_size=1, solver=MERGE
)


def plan_of(reasonings, cluster_ids, settings):
    """Plan for a list of step difficulties a question."""
    flat = np.array([d for steps in reasonings for d in steps], float)
    num_steps = np.array([len(steps) for steps in reasonings])
    return plan_stages(flat, num_steps, np.array(cluster_ids), settings)


@st.composite
def planning(draw):
    """Questions with ragged difficulties (zeros and ties among them), clusters, settings."""
    difficulty = st.one_of(st.integers(0, 3).map(float), st.floats(1e-3, 8))
    reasonings = draw(
        st.lists(st.lists(difficulty, min_size=1, max_size=6), min_size=1, max_size=8)
    )
    size = len(reasonings)
    cluster_ids = draw(st.lists(st.integers(0, 2), min_size=size, max_size=size))
    beta = draw(st.sampled_from([0.0, 1.0, 12.0]))
    solver = draw(
        st.sampled_from(
            [
                partial(select_by_merge, diversity_weight=beta),
                partial(select_by_thresholds, diversity_weight=beta, epsilon=0.1),
            ]
        )
    )
    num_stages = draw(st.integers(1, 6))
    settings = ScheduleSettings(
        num_stages=num_stages,
        full_stage=draw(st.integers(1, num_stages)),
        growth=draw(st.sampled_from([0.0, 0.5, 2.0])),
        initial_fraction=draw(st.floats(0, 1)),
        step_size=draw(st.integers(1, 3)),
        solver=solver,
    )
    return reasonings, cluster_ids, settings


PAPER_CEILINGS = [0.300, 0.322, 0.363, 0.415, 0.477, 0.547, 0.625, 0.710, 0.801, 0.898, 1.000]


@pytest.mark.parametrize(("stage", "expected"), list(enumerate(PAPER_CEILINGS)))
def test_the_ceiling_follows_the_table_of_the_paper(stage, expected):
    ceiling = difficulty_ceiling(stage, total=1, initial_fraction=0.3, growth=0.5, full_stage=10)
    assert ceiling == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(
    ("stage", "expected"),
    # B = 80, C_0 = 20, T = 4, p = 1: u = (80 - 20) * 2 / 4^2 = 7.5; D(t) = 7.5 t^2 / 2 + 20.
    [(0, 20), (1, 23.75), (2, 35), (3, 53.75), (4, 80), (5, 80), (100, 80)],
)
def test_the_ceiling_matches_a_hand_computation(stage, expected):
    ceiling = difficulty_ceiling(stage, total=80, initial_fraction=0.25, growth=1, full_stage=4)
    assert ceiling == pytest.approx(expected)


def test_the_ceiling_has_no_negative_stage():
    with pytest.raises(ValueError, match="stage"):
        difficulty_ceiling(-1, total=1, initial_fraction=0, growth=0, full_stage=1)


def test_a_plan_matches_a_hand_computation():
    # B = 18, D = 18 (1/3 + 2/3 (t/2)^2) = 6, 9, 18.
    # Stage 0, budget 6, last steps cost 1, 2, 3, 5: the first three (see test_selection), H = 6.
    #   The next pass has no budget.
    # Stage 1, budget 3, next steps cost 4, 2, 1, 5: the 2 and the 1, H = 9.
    # Stage 2, budget 9, next steps cost 4 and 5: both, H = 18. Stage 3 comes after T.
    plan = plan_of([[4, 1], [2, 2], [1, 3], [5]], [0, 0, 1, 1], SETTINGS)
    assert plan.num_given_steps.tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert plan.ceilings == pytest.approx([6, 9, 18, 18])
    assert plan.planned == pytest.approx([6, 9, 18, 18])
    assert plan.num_given_steps.dtype == np.int32


def test_the_first_state_takes_several_passes():
    # Ceiling 0.75 * 8 = 6: the first pass takes the 1 of each question, H = 2, the second a 2 of
    # each, H = 6; the last 2 does not fit.
    settings = dataclasses.replace(SETTINGS, initial_fraction=0.75)
    plan = plan_of([[2, 2, 1], [2, 1]], [0, 1], settings)
    assert plan.num_given_steps[0].tolist() == [1, 0]
    assert plan.planned[0] == pytest.approx(6)


def test_what_a_stage_leaves_unused_goes_to_the_next_one():
    # D = 0, 7/3, 14/3, 7: the last step of 4 waits for stage 2; stage 3 has 7 - 4 = 3 and takes the
    # 2; the 1 is left at T, and comes with the reset after it.
    settings = dataclasses.replace(
        SETTINGS, num_stages=4, full_stage=3, growth=0, initial_fraction=0
    )
    plan = plan_of([[1, 2, 4]], [0], settings)
    assert plan.num_given_steps[:, 0].tolist() == [3, 3, 2, 1, 0]
    assert plan.planned.tolist() == [0, 0, 4, 6, 7]


def test_a_larger_step_size_moves_several_steps_and_stops_at_the_first():
    # Moves of two steps: the first question's cost 2 + 3 = 5, then 1; the second's only one 4.
    # D = 0, 5, 10. Stage 1: the 5, for with one of them the diversity is the same. Stage 2: 1 + 4.
    settings = dataclasses.replace(
        SETTINGS, num_stages=2, full_stage=2, growth=0, initial_fraction=0, step_size=2
    )
    plan = plan_of([[1, 2, 3], [4]], [0, 0], settings)
    assert plan.num_given_steps.tolist() == [[3, 1], [1, 1], [0, 0]]
    assert plan.planned.tolist() == [0, 5, 10]


@PROPERTY
@given(planning())
def test_what_is_emitted_stays_at_or_below_the_ceiling(case):
    reasonings, cluster_ids, settings = case
    plan = plan_of(reasonings, cluster_ids, settings)
    assert (plan.planned <= plan.ceilings + 2 * ROUNDING * plan.ceilings[-1]).all()


@PROPERTY
@given(planning())
def test_given_steps_fall_by_whole_moves_and_are_gone_after_the_full_stage(case):
    reasonings, cluster_ids, settings = case
    given_steps = plan_of(reasonings, cluster_ids, settings).num_given_steps
    assert (given_steps[0] <= [len(steps) for steps in reasonings]).all()
    rows = given_steps[: settings.full_stage + 1].astype(int)
    unmoved = rows[1:] == rows[:-1]
    moved = rows[1:] == np.maximum(rows[:-1] - settings.step_size, 0)
    assert (unmoved | moved).all()
    assert not given_steps[settings.full_stage + 1 :].any()


@PROPERTY
@given(planning())
def test_planned_difficulty_is_that_of_the_emitted_steps(case):
    reasonings, cluster_ids, settings = case
    plan = plan_of(reasonings, cluster_ids, settings)
    for row, planned in zip(plan.num_given_steps, plan.planned, strict=True):
        emitted = sum(sum(steps[c:]) for steps, c in zip(reasonings, row, strict=True))
        assert planned == pytest.approx(emitted)


@PROPERTY
@given(planning())
def test_no_move_fits_below_the_first_ceiling_any_more(case):
    reasonings, cluster_ids, settings = case
    plan = plan_of(reasonings, cluster_ids, settings)
    left = plan.ceilings[0] - plan.planned[0]
    for steps, c in zip(reasonings, plan.num_given_steps[0], strict=True):
        assert c == 0 or sum(steps[max(c - settings.step_size, 0) : c]) > left


@PROPERTY
@given(planning())
def test_a_larger_initial_fraction_emits_no_less_difficulty(case):
    # A ceiling higher by the hardest move: the lower one was filled to less than that move.
    reasonings, cluster_ids, settings = case
    hardest = max(sum(sorted(steps)[-settings.step_size :]) for steps in reasonings)
    total = sum(map(sum, reasonings))
    share = min(1.0, settings.initial_fraction + (hardest / total if total else 0))
    larger = dataclasses.replace(settings, initial_fraction=share)
    before, after = (plan_of(reasonings, cluster_ids, s).planned[0] for s in (settings, larger))
    assert after >= before - 2 * ROUNDING * total


@PROPERTY
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_a_larger_initial_fraction_emits_no_fewer_of_equally_hard_steps(num_steps, shares):
    smaller, larger = (
        plan_of(
            [[1.5] * n for n in num_steps],
            np.arange(len(num_steps)) % 3,
            dataclasses.replace(SETTINGS, initial_fraction=share),
        )
        for share in shares
    )
    assert larger.num_given_steps[0].sum() <= smaller.num_given_steps[0].sum()
    assert smaller.planned[0] == 1.5 * math.floor(shares[0] * sum(num_steps) + 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_rounding_leaves_no_step_behind_at_the_whole_difficulty(seed):
    rng = np.random.default_rng(seed)
    reasonings = [rng.random(n).tolist() for n in rng.integers(1, 9, 300)]
    settings = dataclasses.replace(SETTINGS, initial_fraction=1)
    plan = plan_of(reasonings, rng.integers(0, 5, 300), settings)
    assert not plan.num_given_steps[0].any()


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.0, 1.0, 12.0]), st.integers(1, 2))
def test_the_order_of_the_questions_does_not_matter(seed, beta, step_size):
    rng = np.random.default_rng(seed)
    reasonings = [rng.lognormal(0, 1, n).tolist() for n in rng.integers(1, 7, 40)]
    cluster_ids, order = rng.integers(0, 4, 40), rng.permutation(40)
    solver = partial(select_by_merge, diversity_weight=beta)
    settings = dataclasses.replace(SETTINGS, step_size=step_size, solver=solver)
    plan = plan_of(reasonings, cluster_ids, settings)
    shuffled = plan_of([reasonings[i] for i in order], cluster_ids[order], settings)
    assert (shuffled.num_given_steps == plan.num_given_steps[:, order]).all()
    assert (shuffled.planned == plan.planned).all()


def test_the_arrays_passed_in_are_left_alone():
    flat, num_steps, cluster_ids = np.arange(6.0), np.array([2, 4]), np.array([0, 1])
    plan_stages(flat, num_steps, cluster_ids, dataclasses.replace(SETTINGS, step_size=2))
    assert flat.tolist() == [0, 1, 2, 3, 4, 5]
    assert num_steps.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("flat", "num_steps", "cluster_ids", "message"),
    [
        ([1, -1], [1, 1], [0, 0], "not negative"),
        ([1, math.nan], [1, 1], [0, 0], "finite"),
        ([1, math.inf], [1, 1], [0, 0], "finite"),
        ([1, 1], [2, 0], [0, 0], "question 1 has no reasoning step"),
        ([1, 1], [3, -1], [0, 0], "question 1 has no reasoning step"),
        ([1, 1, 1], [1, 1], [0, 0], "sums to 2"),
        ([[1, 1]], [1, 1], [0, 0], "step_difficulties has shape"),
        ([1, 1], [1, 1], [0], "cluster_ids"),
        ([2], [[1]], [[0]], "num_steps has shape"),
        ([], [], [], "no questions"),
    ],
)
def test_bad_input_is_refused(flat, num_steps, cluster_ids, message):
    with pytest.raises(ValueError, match=message):
        plan_stages(np.array(flat, float), np.array(num_steps), np.array(cluster_ids), SETTINGS)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("num_stages", 1),
        ("full_stage", 0),
        ("full_stage", 4),
        ("growth", -0.1),
        ("growth", math.inf),
        ("initial_fraction", 1.1),
        ("initial_fraction", -0.1),
        ("initial_fraction", math.nan),
        ("step_size", 0),
    ],
)
def test_settings_out_of_range_are_refused(name, bad):
    with pytest.raises(ValueError, match="expected"):
        dataclasses.replace(SETTINGS, **{name: bad})


def test_everybody_takes_part_in_every_stage_of_a_plan():
    assert plan_of([[4, 1], [2]], [0, 0], SETTINGS).included.all()
