import json
import math

import numpy as np
import pytest

from kpod_ray.report import plotting
from kpod_ray.report.plotting import Histogram
from kpod_ray.report.run import figures
from kpod_ray.report.run.data import Accuracy, RunResults, TrainPoint


def data_of(figure):
    return json.loads(figure.to_json())["data"]


def train_points(num_points, num_stages=1):
    return [
        TrainPoint(step, 1 + step * num_stages // num_points, 2.0 * step, step, step, 0.5, 0.4)
        for step in range(num_points)
    ]


def test_a_full_run_has_every_figure(results):
    assert set(figures.figures_of(results)) == {
        "accuracy", "token_weights", "difficulty", "position", "given_steps", "ceiling",
        "training", "weighting",
    }  # fmt: skip


def test_an_empty_run_has_no_figure():
    assert figures.figures_of(RunResults("empty")) == {}


def test_difficulties_that_are_not_finite_make_no_figure():
    results = RunResults("nan", step_difficulties={"q": (math.nan, math.inf), "r": ()})
    assert figures.figures_of(results) == {}


def test_accuracy_points_and_intervals_are_the_given_ones():
    accuracies = [Accuracy("a", 6, 48, 0.05, 0.25), Accuracy("b", 24, 48, 0.36, 0.64)]
    first, second = data_of(figures.accuracy_figure(accuracies))
    assert (first["x"], second["x"]) == ([12.5], [50.0])
    assert second["x"][0] + second["error_x"]["array"][0] == pytest.approx(64)
    assert second["x"][0] - second["error_x"]["arrayminus"][0] == pytest.approx(36)


def test_labels_reach_plotly_escaped_and_short():
    figure = figures.accuracy_figure([Accuracy("<b>x</b>\u202e" + "y" * 99, 1, 2, 0.1, 0.9)])
    (label,) = json.loads(figure.to_json())["layout"]["yaxis"]["ticktext"]
    assert label.startswith("&lt;b&gt;x&lt;/b&gt;[U+202E]y")
    assert len(label) < 60


def test_histogram_bars_stand_on_their_edges():
    histogram = Histogram((0.0, 0.5, 1.0), (3, 4))
    (bars,) = data_of(plotting.histogram_figure(histogram, "x", "tokens", "red"))
    assert (bars["x"], bars["y"]) == ([0.25, 0.75], [3, 4])
    assert bars["customdata"] == [[0.0, 0.5], [0.5, 1.0]]


def test_every_step_difficulty_is_counted_once():
    (bars,) = data_of(figures.difficulty_figure([0.1, 0.2, 0.2, 3.0]))
    assert sum(bars["y"]) == 4


def test_equal_step_difficulties_can_be_drawn():
    (bars,) = data_of(figures.difficulty_figure([0.7, 0.7]))
    assert sum(bars["y"]) == 2


def test_the_mean_by_position_counts_only_questions_with_such_a_step():
    _, mean = data_of(figures.position_figure([(1.0, 4.0), (3.0,), (2.0, math.nan)]))
    assert mean["x"] == [1, 2]
    assert mean["y"] == [2.0, 4.0]
    assert mean["customdata"] == [3, 1]


def test_given_steps_are_drawn_as_counted():
    bars = data_of(figures.given_steps_figure(((0, 2, 3), (4, 1))))
    assert [bar["name"] for bar in bars] == ["0", "1", "2"]
    assert [bar["y"] for bar in bars] == [[0, 4], [2, 1], [3, 0]]


def test_many_given_steps_share_one_bar_and_lose_no_question():
    bars = data_of(figures.given_steps_figure((tuple(range(40)),)))
    assert bars[-1]["name"] == "7 or more"
    assert sum(bar["y"][0] for bar in bars) == sum(range(40))


def test_the_plan_is_drawn_against_the_ceiling():
    ceiling, plan = data_of(figures.ceiling_figure((1.0, 2.0), (0.5, 1.5)))
    assert (ceiling["x"], ceiling["y"]) == ([0, 1], [1.0, 2.0])
    assert plan["y"] == [0.5, 1.5]


def test_loss_curves_are_the_given_numbers():
    history = [
        TrainPoint(1, 1, 0.9, 0.6, 0.3, 0.4, 0.5),
        TrainPoint(2, 1, math.nan, 0.5, 0.2, 0.4, 0.6),
    ]
    loss, rationale, answer, weight, share = data_of(figures.training_figure(history))
    assert loss["y"] == [0.9, None]
    assert (rationale["y"], answer["y"], weight["y"]) == ([0.6, 0.5], [0.3, 0.2], [0.4, 0.4])
    assert share["y"] == [0.5, 0.6]


def test_a_training_without_rationales_has_no_curves_of_them():
    history = [TrainPoint(step, 1, 0.5, 0.0, 0.5, 0.0, 0.0) for step in (1, 2)]
    traces = data_of(figures.training_figure(history))
    assert [trace["name"] for trace in traces] == ["loss (minimised)", "answer, per token"]


@pytest.mark.parametrize(("num_stages", "num_labels"), [(1, 1), (10, 10), (20, 10), (100, 10)])
def test_every_stage_is_marked_and_few_are_labelled(num_stages, num_labels):
    layout = json.loads(figures.training_figure(train_points(200, num_stages)).to_json())["layout"]
    marks = {shape["x0"] for shape in layout["shapes"]}
    assert len(marks) == num_stages
    assert len(layout["annotations"]) == num_labels


def test_weighting_curves_are_the_given_numbers(results):
    lines = data_of(figures.weighting_figure(results.weighting_history))
    assert len(lines) == 4
    for weighter in range(2):
        own = [point for point in results.weighting_history if point.weighter == weighter]
        losses, spreads = lines[2 * weighter : 2 * weighter + 2]
        assert losses["x"] == [point.train_step for point in own]
        assert losses["y"] == [point.validation_loss for point in own]
        assert spreads["y"] == [point.weight_spread for point in own]


def test_a_long_curve_is_thinned_to_means_of_neighbours():
    table = np.arange(1201.0)[:, None]
    thinned = plotting.thinned(table)
    assert len(thinned) == 401
    assert thinned[0, 0] == 1.0
    assert thinned[-1, 0] == 1200.0


def test_a_short_curve_is_left_alone():
    table = np.arange(600.0)[:, None]
    assert plotting.thinned(table) is table


def test_a_long_constant_curve_stays_constant():
    assert set(plotting.thinned(np.full((5001, 1), 0.4))[:, 0]) == {0.4}
