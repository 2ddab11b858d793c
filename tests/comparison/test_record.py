"""The record of a comparison: files that are gone on from, merged and refused."""

import dataclasses

import pytest

from kpod_ray.comparison.record import Record
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.report.comparison.outcomes import (
    ChosenRate,
    Outcomes,
    QuestionSet,
    outcome_lines,
    read_outcomes,
)
from tests.comparison.comparisons import trial_outcome

QUESTIONS = QuestionSet(("a", "b"), (1, 1))


def test_a_record_goes_on_from_its_file_and_merges_others(tmp_path):
    settings = {"untrained": "u", "uniform": "f"}
    paths = [str(tmp_path / "deep" / name) for name in ("a.jsonl", "b.jsonl")]
    for seed, path in enumerate(paths):
        record = Record.open([path], settings)
        record.begin(QUESTIONS)
        record.add(trial_outcome("untrained", 0, "u"))
        record.add(trial_outcome("uniform", seed, "f"))
        record.add(trial_outcome("gone", seed, "other"))  # an arm that isn't in the config
    merged = Record.open(paths, settings)
    assert set(merged.outcomes.trials) == {
        ("untrained", 0), ("uniform", 0), ("uniform", 1), ("gone", 0), ("gone", 1)
    }  # fmt: skip
    assert Record.open(paths[:1], settings).outcomes == merged.outcomes
    assert len(Record.open(paths[1:], settings).outcomes.trials) == 3


def test_outcomes_of_other_settings_are_refused_in_one_line(tmp_path):
    path = str(tmp_path / "a.jsonl")
    record = Record.open([path], {})
    record.begin(QUESTIONS)
    record.add(trial_outcome("uniform", 0, "f"))
    with pytest.raises(KpodError) as caught:
        Record.open([path], {"uniform": "g"})
    assert str(caught.value) == (
        f"outcomes {path}: arm uniform has outcomes of other settings (fingerprint f, now g); "
        "restore the settings, or give another file"
    )


def test_an_outcome_is_recorded_with_the_schema_of_this_version(tmp_path):
    path = tmp_path / "a.jsonl"
    record = Record.open([str(path)], {})
    record.begin(QUESTIONS)
    record.add(trial_outcome("uniform", 0, "f"))
    record.add(ChosenRate("uniform", "f", 1e-3, ((1e-3, 0.5),)))
    written = read_outcomes(path.read_text(), "a")
    rows = [*written.trials.values(), *written.rates.values()]
    assert [row.schema_version for row in rows] == [SCHEMA_VERSION] * 2


def refusal(path, row):
    """Return why a file with one row, of the fingerprint ``f``, isn't gone on from with ``g``."""
    outcomes = Outcomes(QUESTIONS)
    is_rate = isinstance(row, ChosenRate)
    outcomes = outcomes.with_rate(row) if is_rate else outcomes.with_trial(row)
    path.write_text(outcome_lines(outcomes))
    with pytest.raises(KpodError) as caught:
        Record.open([str(path)], {"uniform": "g"})
    return str(caught.value)


@pytest.mark.parametrize(
    "row",
    [trial_outcome("uniform", 0, "f"), ChosenRate("uniform", "f", 1e-3, ((1e-3, 0.5),))],
    ids=["trial", "rate"],
)
def test_outcomes_of_another_version_are_not_said_to_have_other_settings(tmp_path, row):
    path = tmp_path / "a.jsonl"
    other = dataclasses.replace(row, schema_version=SCHEMA_VERSION - 1)
    assert refusal(path, other) == (
        f"outcomes {path}: arm uniform has outcomes of another version of kpod_ray, with which "
        f"this version's can't be compared (schema {SCHEMA_VERSION - 1}, this version: "
        f"{SCHEMA_VERSION}); go on with that version, or give another file"
    )
    unknown = refusal(path, row)
    assert (
        "of other settings or of an earlier version of kpod_ray (fingerprint f, now g)" in unknown
    )
    same = dataclasses.replace(row, schema_version=SCHEMA_VERSION)
    assert "version" not in refusal(path, same)


def test_outcomes_without_a_schema_are_gone_on_from_while_their_settings_are_the_same(tmp_path):
    path = tmp_path / "a.jsonl"
    outcomes = Outcomes(QUESTIONS).with_trial(trial_outcome("uniform", 0, "f"))
    path.write_text(outcome_lines(outcomes).replace(',"schema_version":null', ""))
    assert "schema" not in path.read_text()
    assert Record.open([str(path)], {"uniform": "f"}).outcomes == outcomes


def test_files_that_can_not_be_used_are_told(tmp_path):
    with pytest.raises(KpodError, match=r"outcomes .*b\.jsonl can't be read: No such file"):
        Record.open([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], {})
    with pytest.raises(KpodError, match=r"can't be read: Is a directory"):
        Record.open([str(tmp_path)], {})
    (tmp_path / "c.jsonl").write_bytes(b"\xff")
    with pytest.raises(KpodError, match="not UTF-8"):
        Record.open([str(tmp_path / "c.jsonl")], {})
    (tmp_path / "file").write_text("")
    with pytest.raises(KpodError, match="can't be written"):
        Record.open([str(tmp_path / "file" / "a.jsonl")], {})
    record = Record.open([], {})
    record.begin(QUESTIONS)
    with pytest.raises(KpodError, match="other test questions"):
        record.begin(QuestionSet(("a", "c"), (1, 1)))
