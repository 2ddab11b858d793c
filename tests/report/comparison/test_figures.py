import dataclasses
import json

import pytest

from kpod_ray.report.comparison.figures import comparison_figures
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.step_groups import step_groups


def drawn(comparison):
    figures = comparison_figures(comparison, findings(comparison), step_groups(comparison))
    return {name: json.loads(figure.to_json()) for name, figure in figures.items()}


@pytest.fixture(scope="module")
def figures(comparison):
    return drawn(comparison)


def test_a_full_comparison_has_every_figure(figures):
    assert set(figures) == {"accuracy", "differences", "steps", "curves", "tokens"}


def test_figures_without_data_are_left_out(comparison):
    untrained = dataclasses.replace(comparison.baseline_arm, curves=())
    steps = (2,) * comparison.num_questions
    bare = dataclasses.replace(comparison, arms=(untrained,), num_steps_of_question=steps)
    assert set(drawn(bare)) == {"accuracy"}


def test_differences_and_intervals_are_the_found_ones(figures, comparison):
    contrasts = findings(comparison).contrasts
    points = figures["differences"]["data"]
    assert figures["differences"]["layout"]["yaxis"]["ticktext"] == list(contrasts)
    for point, contrast in zip(points, contrasts.values(), strict=True):
        difference, ends = contrast.difference, point["error_x"]
        assert point["x"] == [pytest.approx(100 * difference.value)]
        assert point["x"][0] + ends["array"][0] == pytest.approx(100 * difference.high)
        assert point["x"][0] - ends["arrayminus"][0] == pytest.approx(100 * difference.low)


def test_a_verdict_has_one_colour(figures, comparison):
    contrasts = findings(comparison).contrasts.values()
    points = figures["differences"]["data"]
    pairs = {(one.verdict, p["marker"]["color"]) for one, p in zip(contrasts, points, strict=True)}
    assert len(pairs) == len({verdict for verdict, _ in pairs})


def test_rows_of_contrasts_with_other_arms_name_both(comparison):
    pairs = (("kpod", "uniform"), ("kpod", "hand_weights"))
    layout = drawn(dataclasses.replace(comparison, contrasts=pairs))["differences"]["layout"]
    labels = ["kpod<br>\u2212 uniform", "kpod<br>\u2212 hand_weights"]
    assert layout["yaxis"]["ticktext"] == labels


def test_undecided_points_are_hollow_and_only_these(figures, comparison):
    contrasts = findings(comparison).contrasts.values()
    hollow = [point["marker"].get("symbol") for point in figures["differences"]["data"]]
    assert hollow == ["circle-open" if one.verdict == "undecided" else None for one in contrasts]
    assert len(set(hollow)) == 2


def test_only_the_baseline_has_its_colour_where_arms_are_not_tested(comparison):
    chosen = dataclasses.replace(comparison, contrasts=(("kpod", "uniform"),))
    means = drawn(chosen)["accuracy"]["data"][1::2]
    colors = {arm.name: p["marker"]["color"] for arm, p in zip(chosen.arms, means, strict=True)}
    own = colors.pop("uniform")
    assert own not in colors.values()
    assert colors["dft"] == colors["untrained"] == "rgb(138, 144, 156)"


def test_an_arm_without_rationales_has_no_rationale_loss_but_a_name(figures):
    own = [trace for trace in figures["curves"]["data"] if trace["name"] == "answer_only"]
    assert [bool(trace["x"]) for trace in own] == [False, True, True]
    assert [trace["showlegend"] for trace in own] == [False, True, False]


def test_a_number_of_steps_has_its_number_of_questions_below(figures, comparison):
    ticks = figures["steps"]["layout"]["xaxis"]["ticktext"]
    groups = step_groups(comparison)
    assert ticks == [f"{group.num_steps}<br>({group.num_questions})" for group in groups]
    assert sum(int(tick.split("(")[1][:-1]) for tick in ticks) == 150


def test_every_seed_is_a_point_beside_its_arm(figures, comparison):
    seeds = figures["accuracy"]["data"][::2]
    assert [len(trace["x"]) for trace in seeds] == [arm.num_seeds for arm in comparison.arms]
    assert seeds[2]["x"] == pytest.approx(100 * comparison.arms[2].correct.mean(axis=1))


def test_curves_are_means_over_the_seeds(figures, comparison):
    (arm,) = (arm for arm in comparison.arms if arm.name == "kpod")
    traces = [trace for trace in figures["curves"]["data"] if trace["name"] == "kpod"]
    losses = [[point.rationale_loss for point in curve] for curve in arm.curves]
    means = [sum(column) / len(column) for column in zip(*losses, strict=True)]
    assert traces[0]["y"] == pytest.approx(means)
    assert traces[2]["x"] == [5, 10]  # accuracy was measured there alone


def test_seeds_that_end_early_leave_the_others_their_mean(comparison):
    (arm,) = (arm for arm in comparison.arms if arm.name == "kpod_adaptive")
    short = dataclasses.replace(arm, curves=(arm.curves[0][:4], *arm.curves[1:]))
    cut = dataclasses.replace(comparison, arms=(comparison.baseline_arm, short))
    (trace, *_) = [t for t in drawn(cut)["curves"]["data"] if t["name"] == "kpod_adaptive"]
    rest = [curve[-1].rationale_loss for curve in arm.curves[1:]]
    assert trace["y"][-1] == pytest.approx(sum(rest) / len(rest))


def test_arms_can_be_told_apart_by_colour_and_dash(figures, comparison):
    lines = [trace["line"] for trace in figures["steps"]["data"]]
    assert len({(line["color"], line["dash"]) for line in lines}) == len(comparison.arms)


def test_the_cost_axis_is_the_tokens_in_the_loss(figures, comparison):
    names = [trace["name"] for trace in figures["tokens"]["data"]]
    assert names == [arm.name for arm in comparison.arms if arm.curves]
    (uniform,) = (trace for trace in figures["tokens"]["data"] if trace["name"] == "uniform")
    assert uniform["x"] == [point.loss_tokens for point in comparison.baseline_arm.curves[0]]


def test_hostile_names_reach_plotly_escaped(hostile_comparison):
    for figure in drawn(hostile_comparison).values():
        assert "<script" not in json.dumps(figure)
