import dataclasses

from kpod_ray.records import Question, Rationale
from kpod_ray.report.run import page, tables
from kpod_ray.report.run.data import PredictionPair, RunResults


def test_verdict_counts_are_all_there_and_their_shares_add_up(results):
    rows = tables.verdict_rows(results.verdict_counts)
    assert len(rows) == 15
    assert sum(int(row.amount) for row in rows) == sum(results.verdict_counts.values())
    assert abs(sum(float(row.share.split("\u00a0")[0]) for row in rows) - 100) < 0.5


def test_an_unknown_verdict_is_counted_too():
    rows = tables.verdict_rows({"kept": 1, "<new>": 3})
    assert (rows[-1].label, rows[-1].amount, rows[-1].width) == ("<new>", "3", "100.00")


def test_every_verdict_has_a_meaning():
    assert all(row.meaning for row in tables.verdict_rows({"kept": 1}))


def test_the_longest_phase_has_the_longest_bar(results):
    widths = {row.label: float(row.width) for row in tables.phase_rows(results.phase_seconds)}
    assert widths["train"] == 100
    assert widths["teacher"] == round(100 * 412.4 / 618.9, 2)


def test_rejects_are_grouped_and_cut():
    reject = Rationale("q/0", "q", 0, "text", "t", "stop", 1, "", "wrong")
    other = dataclasses.replace(reject, verdict="empty")
    groups = tables.reject_groups([reject] * 7 + [other])
    assert {verdict: len(group) for verdict, group in groups.items()} == {"wrong": 5, "empty": 1}


def test_a_question_is_shown_with_its_lettered_choices():
    question = Question("q", "Where?", "B", "choice", ("here", "there"), "test", "")
    results = RunResults("x", questions={"q": question})
    assert tables.question_text(results, "q") == "Where?\nA. here\nB. there"
    assert tables.question_text(results, "other") == tables.MISSING_QUESTION


def test_predictions_are_tallied_by_before_and_after(results):
    counts = tables.prediction_counts(results)
    assert counts == {
        "right both times": 2,
        "only right after training": 4,
        "only right before training": 1,
        "wrong both times": 5,
    }


def test_predictions_without_a_before_are_not_tallied(results):
    after = results.predictions[0].after
    alone = RunResults("x", predictions=(PredictionPair("test-0", None, after),))
    assert tables.prediction_counts(alone) == {}


def test_the_tally_counts_questions_that_are_not_shown(results):
    pairs = ((True, True),) * 300 + ((False, True),) * 50
    counts = tables.prediction_counts(dataclasses.replace(results, correct_pairs=pairs))
    assert counts["right both times"] == 300
    assert counts["only right after training"] == 50
    assert sum(counts.values()) == 350


def test_one_phase_is_no_phases():
    (tile,) = page.tiles(RunResults("x", phase_seconds={"train": 1.0}))
    assert tile.remark == "1 phase"


def test_tiles_hold_the_numbers_of_the_run(results):
    tiles = {tile.name: (tile.value, tile.remark) for tile in page.tiles(results)}
    assert tiles["Accuracy"] == ("47.9\u00a0%", "23 of 48 test questions")
    assert tiles["Difference in points"] == ("+35.4", "+18.8 to +52.1 at 95\u00a0%")
    assert tiles["Rationales used"] == ("94", "of 192")
    assert tiles["Train steps"] == ("240", "in 20 stages")
    assert tiles["Time"][0] == "20\u00a0min 31\u00a0s"


def test_an_empty_run_has_no_tiles():
    assert page.tiles(RunResults("empty")) == []
