"""The conclusions that the accuracies of a run allow, as sentences.

Two models are called different only if their 95 % intervals don't overlap.
"""

from __future__ import annotations

from kpod_ray.report.formatting import NO_BREAK_SPACE, percent, points
from kpod_ray.report.run.data import Accuracy


def difference_in_words(before: Accuracy, after: Accuracy) -> str:
    """Return ``better`` or ``worse`` for ``after``, or else why the models can't be told apart.

    The models can be told apart if both were asked questions and their 95 % intervals have no point in
    common. ``better`` means that ``after`` has the higher accuracy.
    """
    if not before.num_questions or not after.num_questions:
        return "can't be compared: no questions"
    if before.overlaps(after):
        reason = f"95{NO_BREAK_SPACE}% intervals overlap"
        return f"not distinguishable with {_num_questions(before, after)} ({reason})"
    return "better" if after.share > before.share else "worse"


def verdict_line(accuracies: tuple[Accuracy, ...]) -> str:
    """Return one or two sentences that compare the last model with the first; labels aren't escaped.

    With one model, the sentences give its accuracy, and say that there is no other model; without
    models, one sentence says that none was evaluated.
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
    words = difference_in_words(before, after)
    difference = points(after.share - before.share)
    line = f"{line}, against {percent(before.share)} for {before.label} ({difference})."
    if words in ("better", "worse"):
        return f"{line} {words.capitalize()}: the 95{NO_BREAK_SPACE}% intervals do not overlap."
    return f"{line} {words.capitalize()}."


def _num_questions(before: Accuracy, after: Accuracy) -> str:
    counts = sorted({before.num_questions, after.num_questions})
    unit = "question" if counts == [1] else "questions"
    return f"{' and '.join(f'{count:,}' for count in counts)} {unit}"
