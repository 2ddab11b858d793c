import dataclasses

import pytest

from kpod_ray.report.sweep.data import FAILED, FINISHED
from kpod_ray.report.sweep.figures import sweep_figures
from kpod_ray.report.sweep.page import render_sweep, trial_rows
from kpod_ray.report.sweep.wording import headline

SECTIONS = ("best", "space", "curves", "trials", "sweep")


@pytest.fixture(scope="module")
def page(swept, parse_page):
    return parse_page(render_sweep(swept))


def test_the_page_is_one_well_formed_document(page, swept):
    assert page.open == []
    assert set(page.sections) == {"header", *SECTIONS}
    assert page.tags.count("script") == 2
    assert len(page.figures()) == 4
    links = [value for _, name, value in page.attributes if name == "href"]
    assert links == [f"#{section}" for section in SECTIONS]
    assert render_sweep(swept) == render_sweep(swept)


def test_every_trial_is_in_the_table_the_best_first(page, swept):
    rows = trial_rows(swept)
    assert len(rows) == 16
    finished = [row for row in rows if row.state == FINISHED]
    assert rows[: len(finished)] == finished
    values = [float(row.objective) for row in finished]
    assert values == sorted(values)
    assert rows[-1].state == FAILED
    assert rows[-1].error == "it broke"
    for row in rows:
        assert row.name in page.sections["trials"]


def test_the_best_settings_stand_beside_those_of_the_config(page, swept):
    best = swept.finished()[0]
    rate = f"{best.settings['student.learning_rate']:.3g}"
    assert page.cells("student.learning_rate")[1:] == [rate, "1e-05"]
    assert f"loss of {best.score:.4f}" in page.sections["header"]
    header = page.sections["header"].replace("\u00a0", " ")
    assert "answers 15.0 % of the test questions, the untouched 0.0 %" in header
    assert f"Best of 16 trials: {best.trial_id}, with a validation loss" in header


def test_the_best_student_is_tested_against_the_untouched_one(page, swept):
    assert "30 questions right only afterwards and 0 only before: better" in page.sections["header"]
    bare = dataclasses.replace(swept, gain=None)
    assert "McNemar" not in headline(bare)


def test_one_trial_is_no_trials(swept):
    one = dataclasses.replace(swept, trials=swept.finished()[:1])
    assert headline(one).startswith(f"Best of 1 trial: {one.trials[0].trial_id}, with a")


def test_hostile_text_makes_no_tag_and_no_attribute(hostile_sweep, page, parse_page):
    hostile = parse_page(render_sweep(hostile_sweep))
    assert set(hostile.tags) <= set(page.tags)
    assert hostile.scripts == page.scripts
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    for section in ("header", "best", "trials", "sweep"):
        assert "</script><script>" in hostile.sections[section]


def test_a_sweep_in_which_nothing_was_finished_says_so(swept, parse_page):
    stopped = tuple(trial for trial in swept.trials if trial.state != FINISHED)
    page = parse_page(render_sweep(dataclasses.replace(swept, trials=stopped)))
    assert "No trial was finished." in page.sections["header"]
    assert "Nothing to show: no trial was finished." in page.sections["best"]
    nothing = dataclasses.replace(swept, trials=(), accuracies={})
    assert sweep_figures(nothing) == {}
    empty = parse_page(render_sweep(nothing))
    assert empty.open == []
    for section in ("best", "space", "curves", "trials"):
        assert "othing to show" in empty.sections[section]
    assert "0 trials" not in empty.sections["space"]
