import dataclasses
import re

import pytest

from kpod_ray.report.comparison.headline import cautions, headline, leading_arms
from kpod_ray.report.comparison.page import render_comparison, tiles
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.tables import arm_rows
from kpod_ray.report.formatting import points

SECTIONS = ("result", "length", "curves", "cost", "arms", "comparison")


@pytest.fixture(scope="module")
def source(comparison):
    return render_comparison(comparison)


@pytest.fixture(scope="module")
def page(source, parse_page):
    return parse_page(source)


@pytest.fixture(scope="module")
def hostile(hostile_comparison, parse_page):
    return parse_page(render_comparison(hostile_comparison))


def test_the_page_is_one_well_formed_document(page, source):
    assert page.open == []
    assert set(page.sections) == {"header", *SECTIONS}
    assert page.tags.count("script") == 2
    assert source.startswith("<!DOCTYPE html>")
    assert len(source.encode()) < 8_000_000


def test_the_same_results_give_the_same_page(source, comparison):
    assert render_comparison(comparison) == source


def test_every_arm_is_shown_with_its_numbers(page, comparison):
    for row in arm_rows(comparison, findings(comparison)):
        cells = page.cells(f"{row.name}{row.words}")
        assert cells[1] == f"{row.accuracy}{row.accuracy_interval}".replace("\u00a0", " ")
        assert cells[2:5] == [
            f"{row.difference}{row.difference_interval}",
            row.p_value,
            row.adjusted_p,
        ]


def test_the_page_leads_with_one_sentence_and_the_arms_in_it(page, comparison):
    found = findings(comparison)
    header = page.sections["header"]
    assert headline(comparison, found) in header
    best, baseline = leading_arms(comparison, found)
    assert f"{best}: {comparison.arm(best).description}{baseline} (baseline): " in header


def test_warnings_are_in_the_first_screen(page, comparison):
    for text in cautions(comparison):
        assert text in page.sections["header"]
    assert cautions(comparison)


def test_arms_that_were_not_trained_have_no_row_of_costs(page):
    costs = page.sections["cost"]
    assert "untrained" not in costs
    assert "uniform" in costs


def test_the_best_arm_at_equal_cost_has_a_tile(comparison):
    found = findings(comparison)
    assert "At equal cost" not in [tile.name for tile in tiles(comparison, found)]
    best = leading_arms(comparison, found)[0]
    longer = dataclasses.replace(comparison.baseline_arm, cost_tokens=(2_600_000,) * 3)
    arms = tuple(
        dataclasses.replace(arm, cost_tokens=(2_000_000,) * 3) if arm.name == best else arm
        for arm in comparison.arms
    )
    results = dataclasses.replace(comparison, arms=arms, longer_baseline=longer)
    found = findings(results)
    (tile,) = [tile for tile in tiles(results, found) if tile.name == "At equal cost"]
    assert tile.value == points(found.costs[best].difference.value)
    assert tile.remark.endswith(", no test")


def test_figures_are_five_and_the_links_lead_to_sections(page):
    assert len(page.figures()) == 5
    links = [value for _, name, value in page.attributes if name == "href"]
    assert links == [f"#{section}" for section in SECTIONS]


def test_config_versions_and_nodes_are_shown(page, comparison):
    assert comparison.config_yaml in page.sections["comparison"]
    assert "torch\u00a02.13.0" in page.sections["comparison"]
    assert comparison.nodes in page.sections["comparison"]


def test_only_the_scripts_of_the_package_may_run(page):
    policy = page.policy()
    assert re.search("script-src ([^;]*);", policy)[1].split() == page.script_digests()
    assert policy.startswith("default-src 'none'; ")


def test_hostile_text_makes_no_tag_and_no_attribute(hostile, page):
    assert set(hostile.tags) <= set(page.tags)
    assert hostile.scripts == page.scripts
    assert not [name for _, name, _ in hostile.attributes if name.startswith("on")]
    links = [value for _, name, value in hostile.attributes if name == "href"]
    assert all(link.startswith("#") for link in links)


def test_hostile_text_is_shown_literally_in_every_section(hostile):
    for section in ("header", "result", "length", "cost", "arms", "comparison"):
        assert "</script><script>" in hostile.sections[section]
        assert "{{ 7 * 7 }} &lt;b&gt;" in hostile.sections[section]


def test_arms_without_training_say_that_there_is_nothing_to_show(comparison, parse_page):
    names = ("supervised_tokens", "train_tokens", "train_steps", "train_seconds", "curves")
    arms = tuple(
        dataclasses.replace(arm, **dict.fromkeys(names, ())) for arm in comparison.arms[:3]
    )
    bare = parse_page(render_comparison(dataclasses.replace(comparison, arms=arms)))
    for section in ("curves", "cost"):
        assert "Nothing to show" in bare.sections[section]


def test_a_baseline_alone_makes_a_page(comparison, parse_page):
    alone = dataclasses.replace(comparison, arms=(comparison.baseline_arm,))
    page = parse_page(render_comparison(alone))
    assert page.open == []
    assert "There is no arm to compare uniform with." in page.sections["header"]
