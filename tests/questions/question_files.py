"""Files of questions, and what is loaded from them."""

import pytest

from kpod_ray.config import FileQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.loading import load_questions
from tests.json_lines import write_lines


def rows_of(count, **fields):
    return [
        {"id": f"q{i}", "question": f"{i} + 1?", "answer": i + 1, **fields} for i in range(count)
    ]


def source(path, **settings):
    return FileQuestions(source="file", path=str(path), **settings)


def load(tmp_path, rows, **settings):
    return load_questions(
        source(write_lines(tmp_path / "questions.jsonl", rows), **settings), seed=0
    )


def error_of(tmp_path, rows, **settings):
    with pytest.raises(KpodError) as caught:
        load(tmp_path, rows, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "")


def ids(loaded, split):
    return [question.id for question in loaded.questions if question.split == split]
