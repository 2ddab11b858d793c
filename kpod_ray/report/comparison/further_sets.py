"""The accuracies of the arms on further test sets (``evaluation.also``), without tests."""

from __future__ import annotations

from kpod_ray.report.comparison.data import ArmResults, ComparisonResults
from kpod_ray.report.formatting import percent


def further_set_table(results: ComparisonResults) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table of the accuracies on the further test sets.

    The head names each set with its number of questions, which may differ between seeds: a set leaves
    out what repeats training questions. Each arm has a row with its name and its accuracies, in per
    cent, as means over the seeds. Without further sets there are no rows.
    """
    names = _names(results)
    head = ["Arm", *(f"{name} ({_num_questions(results, name)})" for name in names)]
    rows = [[arm.name, *(percent(_accuracy(arm, name)) for name in names)] for arm in results.arms]
    return head, rows if names else []


def plain_further_sets(arm: ArmResults, results: ComparisonResults) -> dict[str, float]:
    """Return ``accuracy_NAME`` -> accuracy of an arm on each further set, as a mean over the seeds."""
    return {f"accuracy_{name}": _accuracy(arm, name) for name in _names(results)}


def _names(results: ComparisonResults) -> list[str]:
    """Return the names of the sets that all arms have answered."""
    first, *others = results.arms
    return [name for name in first.also if all(name in arm.also for arm in others)]


def _accuracy(arm: ArmResults, name: str) -> float:
    shares = [correct / questions for correct, questions in arm.also[name]]
    return sum(shares) / len(shares)


def _num_questions(results: ComparisonResults, name: str) -> str:
    """Return the number of questions of a set, or the smallest and the largest number."""
    numbers = {questions for arm in results.arms for _, questions in arm.also[name]}
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
