"""The artifacts of further test sets, written by hand into a run whose config names the sets."""

from kpod_ray.records import Prediction
from tests.pipeline.written_runs import finish

SETS = {
    "sums": ([False] * 30 + [True] * 10, [True] * 36 + [False] * 4),
    "odd-one": ([False, True], [True, False]),
}
"""Set -> whether the untouched, and whether the distilled student answers each question correctly."""
LEFT_OUT = {"sums": 3, "odd-one": 0}


def scores_of(are_correct):
    share = sum(are_correct) / len(are_correct)
    return {
        "counts": {"questions": len(are_correct), "correct": sum(are_correct)},
        "accuracy": {"value": share, "low": share / 2, "high": (1 + share) / 2},
        "steps": {},
    }


def finish_further_sets(run):
    """Finish the artifacts of `SETS`."""
    sets = {
        name: {"questions": len(before), "repeats_of_training": LEFT_OUT[name]}
        for name, (before, _) in SETS.items()
    }
    finish(run, "questions_also", {"counts": {"questions": 42}, "sets": sets})
    for at, artifact in enumerate(("evaluate_also_before", "evaluate_also")):
        tables = {
            f"predictions_{name}": Prediction.to_table(
                Prediction(f"q{i}", "", "stop", 1, "", "", is_correct)
                for i, is_correct in enumerate(answers[at])
            )
            for name, answers in SETS.items()
        }
        scores = {name: scores_of(answers[at]) for name, answers in SETS.items()}
        counts = {"questions": 42, "correct": sum(map(sum, (a[at] for a in SETS.values())))}
        finish(run, artifact, {"counts": counts, "sets": scores}, **tables)
