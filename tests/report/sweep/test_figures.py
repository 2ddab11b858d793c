import pytest

from kpod_ray.config import Domain
from kpod_ray.report.sweep.figures import axis_places, slices_figure


def test_places_on_an_axis():
    assert axis_places(Domain(uniform=(0, 2)), [0.5, 1.5]) == ([0.5, 1.5], {})
    places, ticks = axis_places(Domain(loguniform=(1e-6, 1e-3)), [1e-5, 1e-3])
    assert places == pytest.approx([-5, -3])
    assert ticks["ticktext"] == ["1.0e-06", "1.0e-05", "1.0e-04", "1.0e-03"]
    places, ticks = axis_places(Domain(choice=(None, "a<b")), ["a<b", None])
    assert places == [1, 0]
    assert ticks["ticktext"] == ["None", "a&lt;b"]


def test_text_of_a_setting_is_no_markup_where_the_pointer_is(hostile_sweep):
    trials = [trial for trial in hostile_sweep.trials if trial.curve]
    figure = slices_figure(hostile_sweep, trials, [1.0] * len(trials))
    texts = [text for trace in figure.data for text in trace.customdata]
    assert any("&lt;script&gt;" in text for text in texts)
    assert not any("<" in text for text in texts)
