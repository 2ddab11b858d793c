"""All that a config lacks is told, each thing once."""

import pytest

from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_run, failed_checks
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"


def config_of(*overrides):
    return load(SMOKE, overrides)


def test_a_config_that_lacks_nothing_fails_no_check():
    check_run(config_of())
    assert failed_checks(config_of()) == []


def test_each_missing_thing_is_told_in_a_line_of_its_own(tmp_path):
    config = config_of(
        "student.model=/no/student",
        "teacher.model=/no/teacher",
        "weighting.predictor=/no/predictor",
        "schedule.embedding=/no/vectors.txt",
        "teacher.engine_kwargs={dtipe: float32}",
        f"questions={{source: file, path: {tmp_path / 'gone.jsonl'}}}",
    )
    messages = failed_checks(config)
    for word in ("/no/student", "/no/predictor", "/no/teacher", "/no/vectors.txt", "dtipe"):
        assert sum(word in message for message in messages) >= 1
    assert all("\n" not in message for message in messages)
    assert len(set(messages)) == len(messages)
    with pytest.raises(KpodError) as caught:
        check_run(config)
    assert str(caught.value) == messages[0]


def test_a_model_that_is_not_on_this_machine_is_told_once_for_student_and_teacher():
    """Tests don't ask the hub (`HF_HUB_OFFLINE`)."""
    messages = failed_checks(config_of("student.model=no/model", "teacher.model=no/model"))
    (message,) = messages
    assert message.startswith("model no/model: neither a folder here nor to be had from the hub")


def test_what_only_later_phases_need_is_not_missed_before(tmp_path):
    t5 = config_of("student.model=tiny-t5:0")
    assert failed_checks(t5, ["questions", "teacher"]) == []
    (message,) = failed_checks(t5)
    assert "set evaluation.backend=transformers" in message
