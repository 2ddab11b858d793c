"""The conclusions that the accuracies of a run allow, as sentences.

Two models are called different only if McNemar's paired test says so.
"""

from __future__ import annotations

from kpod_ray.report.formatting import percent
from kpod_ray.report.paired_words import comparison_in_words, verdict_in_words
from kpod_ray.report.run.data import Accuracy

NO_PAIRS = "can't be compared: no question was answered by both"


def difference_in_words(after: Accuracy) -> str:
    """Return ``better`` or ``worse`` than the first model, or else why they can't be told apart."""
    return verdict_in_words(after.against_first) if after.against_first else NO_PAIRS


def verdict_line(accuracies: tuple[Accuracy, ...]) -> str:
    """Return one or two sentences that compare the last model with the first; labels aren't escaped.

    With one model, the sentences give its accuracy, and say that there is no other model; without
    models, one sentence says that none was evaluated. If the two answered different questions, the
    sentence says how many both answered: the difference is that on these.
    """
    if not accuracies:
        return "No model has been evaluated yet."
    after = accuracies[-1]
    line = (
        f"{after.label}: {percent(after.share)} of {after.num_questions:,} test questions correct"
    )
    if len(accuracies) == 1:
        return f"{line}. There is no other model to compare it with."
    before = accuracies[0]
    line = f"{line}, against {percent(before.share)} for {before.label}"
    test = after.against_first
    if test is None:
        return f"{line}: {NO_PAIRS}."
    if test.num_questions < max(before.num_questions, after.num_questions):
        line += f" of {before.num_questions:,}; on the {test.num_questions:,} questions of both"
    return f"{line}: {comparison_in_words(test)}."
