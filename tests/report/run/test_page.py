import dataclasses
import re

import pytest

from kpod_ray.records import Prediction
from kpod_ray.report.run.data import PredictionPair, RunResults, TrainPoint
from kpod_ray.report.run.page import render
from kpod_ray.report.shading import keypoint_text

SECTIONS = (
    *("accuracy", "rationales", "weights", "difficulty"),
    *("schedule", "loss", "predictions", "run"),
)


@pytest.fixture
def page(results, parse_page):
    return parse_page(render(results))


def test_the_page_is_one_well_formed_document(page, results):
    assert page.open == []
    assert page.tags.count("section") == len(SECTIONS)
    assert page.tags.count("script") == 2
    assert render(results).startswith("<!DOCTYPE html>")


def test_the_same_results_give_the_same_page(results):
    assert render(results) == render(results)


def test_the_page_is_smaller_than_eight_megabytes(results):
    assert len(render(results).encode()) < 8_000_000


def test_accuracies_are_shown_as_given(page):
    assert page.cells("untouched student")[1:4] == ["6", "48", "12.5 %5.9 % to 24.7 %"]
    assert page.cells("KPOD student")[1:4] == ["23", "48", "47.9 %34.5 % to 61.7 %"]
    assert page.cells("KPOD student")[4] == "+35.4 points+18.8 to +52.1"
    assert page.cells("untouched student")[5:] == ["\u22121.75", "80.0 %"]
    assert page.cells("same training")[5:] == ["\u2013", "\u2013"]
    assert page.cells("KPOD student")[5:] == ["+0.12", "25.0 %"]
    assert page.cells("KPOD student")[0].startswith("KPOD studentbetter (McNemar's p <")
    assert "not distinguishable with 48 questions" in page.cells("same training")[0]


def test_keypoint_shares_stand_beside_the_weights(page, results):
    for rationale in results.weighted_rationales:
        assert keypoint_text(rationale) in page.sections["weights"]


def test_rationale_counts_add_up_to_the_total(page, results):
    counts = [int(page.cells(verdict)[1]) for verdict in results.verdict_counts]
    assert counts == list(results.verdict_counts.values())
    assert page.cells("Total")[1] == str(sum(counts)) == "192"


def test_verdicts_without_a_rationale_are_folded_away(page):
    folded = page.sections["rationales"].split("9 verdicts without a rationale")
    assert len(folded) == 2
    assert "duplicate" not in folded[0]
    assert "duplicate" in folded[1]
    assert "kept" in folded[0]


def test_many_rationales_and_long_ones_are_folded_but_whole(results, parse_page):
    (first, *_) = results.weighted_rationales
    steps = (*range(2, 62, 4), len(first.text))  # 16 steps; 12 are shown
    long = dataclasses.replace(first, step_starts=(0, *steps[:-1]), step_ends=steps)
    many = dataclasses.replace(results, weighted_rationales=(long,) * 6)
    page = parse_page(render(many))
    text = page.sections["weights"]
    assert text.count("4 more steps") == 6
    assert "2 more" in text
    shown = [value for _, name, value in page.attributes if name == "data-weight"]
    assert len(shown) >= 6 * len(first.token_weights)


def test_warnings_of_phases_are_in_the_first_screen(page):
    text = "questions: 3 training questions are equal to a test question"
    assert text in page.sections["header"]


def test_every_token_carries_its_weight(page, results):
    shown = [value for _, name, value in page.attributes if name == "data-weight"]
    given = [w for rationale in results.weighted_rationales for w in rationale.token_weights]
    assert len(shown) == len(given) + 8  # two tokens of each rationale straddle a step boundary
    assert {f"{weight:.3f}" for weight in given} == set(shown)


def test_each_reasoning_step_has_its_difficulty(page, results):
    for rationale in results.weighted_rationales:
        for difficulty in results.step_difficulties[rationale.question_id]:
            assert f"{difficulty:.2f} nats" in page.sections["weights"]


def test_the_figures_hold_the_numbers_of_the_run(page, results):
    figures = page.figures()
    assert len(figures) == 8
    assert figures[1][0]["y"] == list(results.token_weight_histogram.counts)
    assert figures[5][1]["y"] == list(results.planned)
    assert figures[6][0]["y"] == [point.loss for point in results.train_history]


def test_predictions_are_right_and_wrong_in_words(page):
    text = page.sections["predictions"]
    assert text.count("✓ right") == 3 + 6
    assert text.count("✗ wrong") == 9 + 6


def test_config_and_versions_are_shown(page, results):
    assert results.config_yaml in page.sections["run"]
    assert "torch\u00a02.13.0" in page.sections["run"]


def test_nothing_is_loaded_from_anywhere(page):
    links = [v for _, name, v in page.attributes if name in ("src", "href", "action", "srcset")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.search("url\\(|@import", page.sections["header"])


def test_only_the_scripts_of_the_package_may_run(page):
    policy = page.policy()
    assert re.search("script-src ([^;]*);", policy)[1].split() == page.script_digests()
    assert policy.startswith("default-src 'none'; ")


def test_hostile_text_makes_no_tag_and_no_attribute(hostile_results, page, parse_page):
    hostile = parse_page(render(hostile_results))
    assert set(hostile.tags) <= set(page.tags)
    assert hostile.tags.count("script") == 2
    assert hostile.scripts == page.scripts
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    assert not [value for _, name, value in hostile.attributes if "javascript:" in value]


def test_hostile_text_is_shown_literally_in_every_section(hostile_results, parse_page):
    hostile = parse_page(render(hostile_results))
    for section in ("header", "accuracy", "rationales", "weights", "predictions", "run"):
        assert "</script><script>" in hostile.sections[section]
        assert "{{ 7 * 7 }} &lt;b&gt;" in hostile.sections[section]


def test_hostile_characters_are_gone(hostile_results):
    source = render(hostile_results)
    assert not re.search("[\x00\x1b\u202e\u2066\ud800]", source)
    assert "\u2400\u241b[31m [U+202E]evil[U+2066]" in source
    assert source.encode().decode() == source


def test_an_empty_run_says_in_every_section_that_there_is_nothing(parse_page):
    page = parse_page(render(RunResults("empty")))
    for section in SECTIONS:
        assert "othing to show" in page.sections[section]
    assert page.figures() == []


FIELDS = [field.name for field in dataclasses.fields(RunResults) if field.name != "name"]


@pytest.mark.parametrize("name", FIELDS)
def test_any_one_field_may_be_missing_or_alone(results, name, parse_page):
    empty = getattr(RunResults("empty"), name)
    assert parse_page(render(dataclasses.replace(results, **{name: empty}))).open == []
    assert parse_page(render(RunResults("alone", **{name: getattr(results, name)}))).open == []


def test_a_large_run_still_makes_a_small_page(results, parse_page):
    text = "word " * 20_000
    prediction = Prediction("q", text, "stop", 9, text, text, False)
    large = dataclasses.replace(
        results,
        predictions=(PredictionPair("q", prediction, prediction),) * 2000,
        rejects=results.rejects * 500,
        weighted_rationales=results.weighted_rationales * 500,
        train_history=tuple(
            TrainPoint(s, s // 500, 1.5, 1.0, 0.5, 0.4, 0.5) for s in range(30_000)
        ),
        step_difficulties={str(index): (0.5, 1.0, 0.7) for index in range(20_000)},
    )
    source = render(large)
    assert len(source.encode()) < 8_000_000
    assert "The first 200 of 2000 are shown." in parse_page(source).sections["predictions"]
