"""A plausible run, comparison and sweep, hostile ones, and a reader of their pages."""

import dataclasses

import pytest

from tests.report.attacks import HOSTILE, poisoned
from tests.report.comparison.comparisons import comparison_with_text, plausible_comparison
from tests.report.pages import Page
from tests.report.run.runs import plausible_run
from tests.report.sweep.sweeps import plausible_sweep, sweep_with_text


@pytest.fixture(scope="session")
def parse_page():
    """What reads the source of a page."""
    return Page


@pytest.fixture
def results():
    """A run with something in every section."""
    return plausible_run()


@pytest.fixture
def hostile_results(results):
    """The same run with text that attacks the page in every place that holds text."""
    questions = {HOSTILE: poisoned(results.questions["test-0"])}
    return dataclasses.replace(poisoned(results), questions=questions)


@pytest.fixture(scope="session")
def comparison():
    """Twelve arms with three seeds each, of which the first is deterministic."""
    return plausible_comparison()


@pytest.fixture(scope="session")
def hostile_comparison(comparison):
    """Three of its arms, with hostile texts in them."""
    return comparison_with_text(comparison, HOSTILE)


@pytest.fixture(scope="session")
def swept():
    """A plausible sweep."""
    return plausible_sweep()


@pytest.fixture(scope="session")
def hostile_sweep(swept):
    """The same sweep with hostile texts in it."""
    return sweep_with_text(swept, HOSTILE)
