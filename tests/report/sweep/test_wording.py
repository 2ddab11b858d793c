"""Sentences of a sweep's page: best settings at an end of what was tried, and parts of the training."""

import dataclasses

import pytest

from kpod_ray.config import SweepConfig
from kpod_ray.report.sweep.data import SweepTrial
from kpod_ray.report.sweep.wording import cautions, percent_done


def swept_with(swept, domain, value):
    """Return the sweep with one setting and one finished trial."""
    trial = SweepTrial("0001", {"student.x": value}, ((100.0, 0.5),), "finished", "")
    sweep = SweepConfig.model_validate({"space": {"student.x": domain}})
    return dataclasses.replace(swept, sweep=sweep, trials=(trial,))


@pytest.mark.parametrize(
    ("domain", "value", "end"),
    [
        ({"uniform": [0, 10]}, 0.4, "lower"),
        ({"uniform": [0, 10]}, 0.6, ""),
        ({"uniform": [0, 10]}, 9.6, "upper"),
        ({"loguniform": [1e-6, 1e-4]}, 1.2e-6, "lower"),  # 0.04 of the two decades
        ({"loguniform": [1e-6, 1e-4]}, 5e-6, ""),  # 0.04 of the linear scale
        ({"randint": [2, 200]}, 200, "upper"),
        ({"randint": [2, 200]}, 199, ""),
        ({"choice": [4, 1, 2]}, 4, "upper"),
        ({"choice": [4, 1, 2]}, 1, "lower"),
        ({"choice": [4, 1, 2]}, 2, ""),
        ({"choice": [1, 2]}, 2, ""),
        ({"choice": [True, False]}, True, ""),
        ({"choice": [None, 1, 2, 3]}, 3, ""),
        ({"choice": ["a", "b", "c"]}, "a", ""),
    ],
)
def test_a_best_setting_at_an_end_of_what_was_tried_is_told(swept, domain, value, end):
    texts = cautions(swept_with(swept, domain, value))
    assert len(texts) == bool(end)
    if end:
        assert texts[0].startswith("The best student.x, ")
        assert f"is at the {end} end of the values that were tried" in texts[0]
        assert ("a larger one" in texts[0]) == (end == "upper")


def test_without_a_finished_trial_there_is_no_best_setting(swept):
    assert cautions(dataclasses.replace(swept, trials=())) == []


@pytest.mark.parametrize(
    ("done", "shown"), [(12.5, "12.5 %"), (100.0, "100 %"), (0.0, "0 %"), (200 / 3, "66.7 %")]
)
def test_a_part_of_the_training_is_rounded_to_a_decimal(done, shown):
    assert percent_done(done).replace("\u00a0", " ") == shown
