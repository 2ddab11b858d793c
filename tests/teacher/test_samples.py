"""What a teacher wrote, read from files and completions."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.config import ColumnsConfig, FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.inference.records import Completion
from kpod_ray.records import Question
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.rationale_files import read_samples
from kpod_ray.teacher.samples import Sample, sample_of_completion
from tests.json_lines import write_lines


def test_a_completion_is_a_sample_of_the_question_it_was_asked_for():
    found = sample_of_completion(Completion("x", "It is 5.", "length", 42, 7, -3.5), "set/7", 12)
    assert found == Sample("set/7", 12, "It is 5.", "length", 42, "", -3.5, 7)


def write_rows(tmp_path, *rows):
    return write_lines(tmp_path / "rationales.jsonl", rows)


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
        ({"id": "a", "rationale": ["One."]}, "line 2: field 'rationale' must be text, not list"),
        ({"id": "a", "rationale": {"text": "One."}}, "line 2: field 'rationale' must be text"),
        ({"id": "a", "rationale": 5}, "line 2: field 'rationale' must be text, not int"),
        ({"id": "a", "rationale": "\ud800"}, "line 2: field 'rationale' holds half a surrogate"),
        ({"id": "\udc00", "rationale": "One."}, "line 2: field 'id' holds half a surrogate pair"),
        ({"id": None, "rationale": "One."}, "line 2: field 'id' is missing"),
        ({"id": ["a"], "rationale": "One."}, "line 2: field 'id' must be text, not list"),
        ({"id": True, "rationale": "One."}, "line 2: field 'id' must be text, not bool"),
        (
            {"id": "a", "rationale": "One.", "teacher_answer": [5]},
            "line 2: field 'teacher_answer' must be text, not list",
        ),
        (
            {"id": "a", "rationale": "One.", "teacher_answer": {"value": 5}},
            "line 2: field 'teacher_answer' must be text, not dict",
        ),
        (
            '{"id": "a", "rationale": "One.", "teacher_answer": NaN}',
            "line 2: field 'teacher_answer' is nan, which is no finite number",
        ),
        (
            {"id": "a", "rationale": "One.", "finish_reason": ["stop"]},
            "line 2: field 'finish_reason' must be text, not list",
        ),
    ],
)
def test_a_broken_row_is_an_error_that_names_its_line(tmp_path, row, message):
    path = write_rows(tmp_path, {"id": "a", "rationale": "One."}, row)
    with pytest.raises(KpodError, match=message):
        read_samples(FileTeacher(kind="file", path=path))


@pytest.mark.parametrize(
    ("answer", "read"),
    [(0, "0"), (0.0, "0"), (-2.50, "-2.5"), (False, "no"), (True, "yes"), (None, ""), ("", ""),
     ("0", "0"), (" B) cat", " B) cat"), (1e22, "10000000000000000000000")],
)  # fmt: skip
def test_an_answer_may_be_any_single_value(tmp_path, answer, read):
    path = write_rows(tmp_path, {"id": "a", "rationale": "One.", "teacher_answer": answer})
    (sample,) = read_samples(FileTeacher(kind="file", path=path))
    assert sample.teacher_answer == read


@pytest.mark.parametrize(
    ("answer", "gold", "kind"), [(0, "0", "number"), (False, "no", "boolean"), (0, "0", "text")]
)
def test_zero_and_false_are_right_answers(tmp_path, answer, gold, kind):
    text = "He eats all 5 eggs, so 5 - 5 = 0 are left. It ends as it began. The answer is 7."
    path = write_rows(tmp_path, {"id": "a", "rationale": text, "teacher_answer": answer})
    settings = FileTeacher(kind="file", path=path)
    question = Question("a", "How many?", gold, kind, (), "train", "")
    result = filter_samples(question, read_samples(settings), settings, "t", split_newlines=False)
    assert [row.verdict for row in result.rows] == ["kept"]
    assert result.rows[0].predicted_answer == gold


def test_the_place_of_a_row_of_parquet_is_its_number(tmp_path):
    path = str(tmp_path / "rationales.parquet")
    rows = [{"id": "a", "rationale": ["One."]}, {"id": "b", "rationale": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(KpodError, match=r"parquet row 1: field 'rationale' must be text, not list"):
        read_samples(FileTeacher(kind="file", path=path))


def test_a_missing_file_is_an_error():
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        read_samples(FileTeacher(kind="file", path="nowhere.jsonl"))
