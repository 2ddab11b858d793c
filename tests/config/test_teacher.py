"""Teachers that a config can't have."""

import pytest

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from tests.config.minimal import MINIMAL, TEACHER


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"temperature": 0, "samples": {"per_question": 2}},
            "samples at temperature 0 are all the same",
        ),
        ({"temperature": 0, "samples": {"retry_rounds": 1}}, "samples at temperature 0"),
        ({"filters": {"min_steps": 3, "max_steps": 2}}, "min_steps is larger than max_steps"),
        ({"filters": {"min_tokens": 3, "max_tokens": 2}}, "min_tokens is larger than max_tokens"),
        ({"filters": {"near_duplicate": 0}}, "near_duplicate: Input should be greater than 0"),
        (
            {"filters": {"max_step": 2}},
            "key teacher.filters.max_step, did you mean teacher.filters.max_steps",
        ),
        ({"selection": "best"}, "selection: Input should be 'first', 'shortest'"),
        ({"num_kept": 0}, "num_kept: Input should be greater than or equal to 1"),
        ({"samples": {"per_question": 0}}, "samples.per_question: Input should be greater"),
        ({"kind": "endpoint", "base_url": "api.openai.com"}, "base_url: String should match"),
        (
            {"kind": "endpoint", "base_url": "http://me:secret@h/v1"},
            "base_url: a key in it would end up in files",
        ),
        ({"kind": "endpoint"}, "teacher.base_url is missing"),
        (
            {"kind": "endpoint", "base_url": "http://h/v1", "max_tries": 0},
            "max_tries: Input should be",
        ),
    ],
)
def test_what_a_teacher_cannot_be_is_said_in_one_line(settings, message):
    with pytest.raises(KpodError, match=message) as caught:
        RunConfig.model_validate(MINIMAL).override({"teacher": {**TEACHER, **settings}})
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_questions_without_answers_need_a_teacher_that_agrees_with_itself():
    config = RunConfig.model_validate(MINIMAL).override({"teacher": TEACHER})
    questions = {"source": "file", "path": "q.jsonl", "allow_missing_answers": True}
    with pytest.raises(KpodError, match="without a gold answer, only what"):
        config.override({"questions": questions})
    config.override({"questions": questions, "teacher.filters.self_consistency": 0.5})
