"""What a teacher wrote, read from files and completions."""

import json

import pytest

from kpod_ray.config import ColumnsConfig, FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.records import Completion
from kpod_ray.teacher.rationale_files import read_samples
from kpod_ray.teacher.samples import Sample, sample_of_completion


def test_a_completion_is_a_sample_of_the_question_it_was_asked_for():
    found = sample_of_completion(Completion("x", "It is 5.", "length", 42, 7, -3.5), "set/7", 12)
    assert found == Sample("set/7", 12, "It is 5.", "length", 42, "", -3.5, 7)


def write_rows(tmp_path, *rows):
    path = tmp_path / "rationales.jsonl"
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return str(path)


def test_rationales_are_read_from_a_file_as_samples_in_its_order(tmp_path):
    path = write_rows(
        tmp_path,
        {"id": "a", "rationale": "One.", "finish_reason": "length", "teacher_answer": 5},
        {"id": 7, "rationale": None},
        {"id": "a", "rationale": "Two."},
    )
    assert read_samples(FileTeacher(kind="file", path=path)) == [
        Sample("a", 0, "One.", "length", 0, "5"),
        Sample("7", 0, "", "", 0, ""),
        Sample("a", 1, "Two.", "", 0, ""),
    ]


def test_columns_may_have_other_names(tmp_path):
    path = write_rows(tmp_path, {"qid": "a", "text": "One.", "said": "5"})
    columns = ColumnsConfig(id="qid", rationale="text", teacher_answer="said")
    samples = read_samples(FileTeacher(kind="file", path=path, columns=columns))
    assert samples == [Sample("a", 0, "One.", "", 0, "5")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"rationale": "One."}, "line 2: no column 'id'; set teacher.columns.id"),
        ({"id": "a"}, "line 2: no column 'rationale'; set teacher.columns.rationale"),
        ("{broken", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
    ],
)
def test_a_broken_row_is_an_error_that_names_its_line(tmp_path, row, message):
    path = write_rows(tmp_path, {"id": "a", "rationale": "One."}, row)
    with pytest.raises(KpodError, match=message):
        read_samples(FileTeacher(kind="file", path=path))


def test_a_missing_file_is_an_error():
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        read_samples(FileTeacher(kind="file", path="nowhere.jsonl"))
