"""What only a real browser can tell; skipped where there is none."""

import pytest

from kpod_ray.report.comparison.page import render_comparison
from kpod_ray.report.run.page import render
from kpod_ray.report.sweep.page import render_sweep
from tests.report.browser import needs_browser, opened, root_of

pytestmark = [needs_browser, pytest.mark.slow]


def test_all_figures_are_drawn_without_a_complaint(results, tmp_path):
    document, log = opened(render(results), tmp_path)
    assert 'data-figures-drawn="8"' in root_of(document)
    assert document.count('class="plot-container') == 8
    assert "Content Security Policy" not in log
    assert "Uncaught" not in log


def test_no_script_of_a_hostile_text_runs(hostile_results, tmp_path):
    document, log = opened(render(hostile_results), tmp_path)
    assert 'data-figures-drawn="8"' in root_of(document)
    assert "data-hacked" not in root_of(document)
    assert "Content Security Policy" not in log


def test_all_figures_of_a_comparison_are_drawn_without_a_complaint(comparison, tmp_path):
    document, log = opened(render_comparison(comparison), tmp_path)
    assert 'data-figures-drawn="5"' in root_of(document)
    assert document.count('class="plot-container') == 5
    assert "Content Security Policy" not in log
    assert "Uncaught" not in log


def test_no_script_of_a_hostile_comparison_runs(hostile_comparison, tmp_path):
    document, log = opened(render_comparison(hostile_comparison), tmp_path)
    assert 'data-figures-drawn="5"' in root_of(document)
    assert "data-hacked" not in root_of(document)
    assert "Content Security Policy" not in log


def test_all_figures_of_a_sweep_are_drawn_without_a_complaint(swept, tmp_path):
    document, log = opened(render_sweep(swept), tmp_path)
    assert 'data-figures-drawn="4"' in root_of(document)
    assert document.count('class="plot-container') == 4
    assert "Content Security Policy" not in log
    assert "Uncaught" not in log


def test_even_a_script_that_got_in_is_stopped_by_the_policy(results, tmp_path):
    script = "<script>document.documentElement.dataset.hacked=1</script>"
    document, log = opened(render(results).replace("</main>", f"{script}</main>"), tmp_path)
    assert "data-hacked" not in root_of(document)
    assert "Content Security Policy" in log


def test_the_same_script_runs_in_a_page_without_protection(tmp_path):
    source = "<!DOCTYPE html><script>document.documentElement.dataset.hacked=1</script>"
    document, _ = opened(source, tmp_path)
    assert 'data-hacked="1"' in root_of(document)
