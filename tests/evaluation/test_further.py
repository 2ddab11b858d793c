"""The results on further test sets, read from artifacts that are written by hand."""

from kpod_ray.evaluation.further import further_results
from kpod_ray.evaluation.paired import paired_test
from tests.pipeline.further_sets import LEFT_OUT, SETS, finish_further_sets
from tests.pipeline.written_runs import finish, written_run

SOURCES = {name: {"source": "arithmetic"} for name in SETS}


def test_every_set_has_its_scores_and_the_test_of_its_own_answers(tmp_path):
    run = written_run(tmp_path, evaluation={"also": SOURCES})
    assert further_results(run.artifacts) == ()
    finish_further_sets(run)
    results = further_results(run.artifacts)
    assert [result.name for result in results] == list(SETS)
    for result in results:
        before, after = SETS[result.name]
        assert result.before["counts"]["correct"] == sum(before)
        assert result.after["counts"]["correct"] == sum(after)
        assert result.num_left_out == LEFT_OUT[result.name]
        assert result.test == paired_test(before, after)
    assert (results[0].test.discordance.num_better, results[0].test.discordance.num_worse) == (
        30,
        4,
    )


def test_without_sets_and_until_both_students_are_asked_there_are_no_results(tmp_path):
    assert further_results(written_run(tmp_path).artifacts) == ()
    run = written_run(tmp_path, evaluation={"also": SOURCES})
    finish(run, "questions_also", {"counts": {}, "sets": {}})
    finish(run, "evaluate_also_before", {"counts": {}, "sets": {}})
    assert further_results(run.artifacts) == ()
