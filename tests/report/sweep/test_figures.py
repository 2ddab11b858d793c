import json

import pytest

from kpod_ray.config import Domain
from kpod_ray.report.plotting import BLUE, GREY, ORANGE
from kpod_ray.report.sweep.axes import axis_places, domain_range
from kpod_ray.report.sweep.data import STOPPED, common_stage
from kpod_ray.report.sweep.figures import curves_figure, slices_figure, sweep_figures


def test_places_on_an_axis():
    assert axis_places(Domain(uniform=(0, 2)), [0.5, 1.5]) == ([0.5, 1.5], {})
    places, ticks = axis_places(Domain(loguniform=(1e-6, 1e-3)), [1e-5, 1e-3])
    assert places == pytest.approx([-5, -3])
    assert ticks["ticktext"] == ["1.0e-06", "1.0e-05", "1.0e-04", "1.0e-03"]
    places, ticks = axis_places(Domain(choice=(None, "a<b")), ["a<b", None])
    assert places == [1, 0]
    assert ticks["ticktext"] == ["None", "a&lt;b"]


@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        ((1e-6, 1e-4), ["1.0e-06", "1.0e-05", "1.0e-04"]),
        ((3e-6, 4e-3), ["1.0e-05", "1.0e-04", "1.0e-03"]),
        ((1e-4, 8e-4), ["1.0e-04", "2.0e-04", "4.0e-04", "8.0e-04"]),
        ((1e-9, 1e3), ["1.0e-09", "1.0e-06", "1.0e-03", "1.0e+00", "1.0e+03"]),
    ],
)
def test_a_logarithmic_axis_is_marked_at_powers_of_ten_if_there_are_three(ends, shown):
    domain = Domain(loguniform=ends)
    _, ticks = axis_places(domain, [])
    assert ticks["ticktext"] == shown
    low, high = domain_range(domain)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks["tickvals"])


def test_an_axis_reaches_over_all_values_that_could_be_tried(swept):
    _, objectives = common_stage(swept.trials)
    trials = [trial for trial in swept.trials if trial.trial_id in objectives]
    figure = slices_figure(swept, trials, list(objectives.values()))
    layout = json.loads(figure.to_json())["layout"]
    for at, path in enumerate(swept.paths, start=1):
        low, high = domain_range(swept.sweep.space[path])
        first, last = layout[f"xaxis{at if at > 1 else ''}"]["range"]
        assert first < low < high < last
        assert layout[f"yaxis{at if at > 1 else ''}"]["title"]["text"] == "validation loss"


def test_the_best_trial_is_orange_in_every_figure_and_stopped_ones_grey(swept):
    best = swept.best()
    assert best == swept.finished()[0].trial_id
    _, objectives = common_stage(swept.trials)
    trials = [trial for trial in swept.trials if trial.trial_id in objectives]
    panels = slices_figure(swept, trials, list(objectives.values())).data
    for panel in panels:
        for trial, color in zip(trials, panel.marker.color, strict=True):
            expected = (
                ORANGE if trial.trial_id == best else GREY if trial.state == STOPPED else BLUE
            )
            assert color == expected
    assert curves_figure(swept).data[-1].line.color == ORANGE
    lines = sweep_figures(swept)["parallel"].data
    assert [line.line.color == ORANGE for line in lines] == [False] * (len(lines) - 1) + [True]


def test_labels_at_the_ends_of_an_axis_are_above_and_below_it(swept):
    layout = json.loads(sweep_figures(swept)["parallel"].to_json())["layout"]
    anchors = {(mark["y"], mark.get("yanchor")) for mark in layout["annotations"]}
    assert anchors == {(0, "top"), (1, "bottom")}
    assert {mark["text"] for mark in layout["annotations"]} >= {"merge", "threshold", "0", "24"}


def test_text_of_a_setting_is_no_markup_where_the_pointer_is(hostile_sweep):
    trials = [trial for trial in hostile_sweep.trials if trial.curve]
    figure = slices_figure(hostile_sweep, trials, [1.0] * len(trials))
    texts = [text for trace in figure.data for text in trace.customdata]
    assert any("&lt;script&gt;" in text for text in texts)
    assert not any("<" in text for text in texts)
