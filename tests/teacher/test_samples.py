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
from tests.questions.test_formats import SIX, TABLES, write


def test_a_completion_is_a_sample_of_the_question_it_was_asked_for():
    found = sample_of_completion(Completion("x", "It is 5.", "length", 42, 7, -3.5), "set/7", 12)
    assert found == Sample("set/7", 12, "It is 5.", "length", 42, "", -3.5, 7)


def write_rows(tmp_path, *rows):
    return write_lines(tmp_path / "rationales.jsonl", rows)


def samples_of(path, questions=(), **settings):
    return read_samples(FileTeacher(kind="file", path=path, **settings), questions).samples


def test_rationales_are_read_from_a_file_as_samples_in_its_order(tmp_path):
    path = write_rows(
        tmp_path,
        {"id": "a", "rationale": "One.", "finish_reason": "length", "teacher_answer": 5},
        {"id": 7, "rationale": None},
        {"id": "a", "rationale": "Two."},
    )
    assert samples_of(path) == [
        Sample("a", 0, "One.", "length", 0, "5"),
        Sample("7", 0, "", "", 0, ""),
        Sample("a", 1, "Two.", "", 0, ""),
    ]


def test_columns_may_have_other_names(tmp_path):
    path = write_rows(tmp_path, {"qid": "a", "text": "One.", "said": "5"})
    columns = ColumnsConfig(id="qid", rationale="text", teacher_answer="said")
    samples = samples_of(path, columns=columns)
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
        samples_of(path)


@pytest.mark.parametrize(
    ("answer", "read"),
    [(0, "0"), (0.0, "0"), (-2.50, "-2.5"), (False, "no"), (True, "yes"), (None, ""), ("", ""),
     ("0", "0"), (" B) cat", " B) cat"), (1e22, "10000000000000000000000")],
)  # fmt: skip
def test_an_answer_may_be_any_single_value(tmp_path, answer, read):
    path = write_rows(tmp_path, {"id": "a", "rationale": "One.", "teacher_answer": answer})
    (sample,) = samples_of(path)
    assert sample.teacher_answer == read


@pytest.mark.parametrize(
    ("answer", "gold", "kind"), [(0, "0", "number"), (False, "no", "boolean"), (0, "0", "text")]
)
def test_zero_and_false_are_right_answers(tmp_path, answer, gold, kind):
    text = "He eats all 5 eggs, so 5 - 5 = 0 are left. It ends as it began. The answer is 7."
    path = write_rows(tmp_path, {"id": "a", "rationale": text, "teacher_answer": answer})
    settings = FileTeacher(kind="file", path=path)
    question = Question("a", "How many?", gold, kind, (), "train", "")
    result = filter_samples(question, samples_of(path), settings, "t", split_newlines=False)
    assert [row.verdict for row in result.rows] == ["kept"]
    assert result.rows[0].predicted_answer == gold


def test_the_place_of_a_row_of_parquet_is_its_number(tmp_path):
    path = str(tmp_path / "rationales.parquet")
    rows = [{"id": "a", "rationale": ["One."]}, {"id": "b", "rationale": None}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(KpodError, match=r"parquet row 1: field 'rationale' must be text, not list"):
        samples_of(path)


def test_a_missing_file_is_an_error():
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        samples_of("nowhere.jsonl")


QUESTIONS = [
    Question("a", "How many\n eggs?", "3", "number", (), "train", ""),
    Question("b", "Which?", "B", "choice", ("x", "y"), "train", ""),
    Question("t", "What is left?", "1", "number", (), "test", ""),
    Question("again", "How many eggs?", "3", "number", (), "train", ""),
]
"""The last question has the text of the first one."""


@pytest.mark.parametrize(
    ("asked", "question_id"),
    [
        ("How many eggs?", "a"),
        ("  How  many\teggs? ", "a"),
        ("How many eggs?\nPlease reason step by step.", "a"),
        ("Answer this question.\n\nHow many eggs?", "a"),
        ("Which?\nAnswer choices:\nA. x\nB. y", "b"),
        ("Which?", "b"),
        ("What is left?", "t"),
    ],
)
def test_a_rationale_without_an_id_belongs_to_the_question_with_its_text(
    tmp_path, asked, question_id
):
    path = write_rows(tmp_path, {"question": asked, "rationale": "One."})
    assert [sample.question_id for sample in samples_of(path, QUESTIONS)] == [question_id]


@pytest.mark.parametrize(
    ("own_id", "asked", "question_id"),
    [
        ("b", "How many eggs?", "b"),
        ("other", "How many eggs?", "a"),
        (None, "How many eggs?", "a"),
        ("other", "Why?", "other"),
    ],
)
def test_the_id_of_a_question_goes_before_its_text(tmp_path, own_id, asked, question_id):
    path = write_rows(tmp_path, {"id": own_id, "question": asked, "rationale": "One."})
    assert [sample.question_id for sample in samples_of(path, QUESTIONS)] == [question_id]


def test_samples_of_one_question_are_numbered_however_they_were_matched(tmp_path):
    path = write_rows(
        tmp_path,
        {"id": "a", "question": "-", "rationale": "One."},
        {"id": None, "question": "How many eggs?", "rationale": "Two."},
    )
    found = [(sample.question_id, sample.sample_index) for sample in samples_of(path, QUESTIONS)]
    assert found == [("a", 0), ("a", 1)]


def test_what_matches_no_question_is_counted_with_an_example(tmp_path):
    path = write_rows(
        tmp_path,
        {"question": "Which?", "rationale": "One."},
        {"question": f"Why {'so ' * 60}?", "rationale": "Two."},
        {"question": "When?", "rationale": "Three."},
    )
    found = read_samples(FileTeacher(kind="file", path=path), QUESTIONS)
    assert len({sample.question_id for sample in found.samples}) == 3
    assert found.warning().startswith(
        "2 of 3 rationales belong to no question, such as those of 'Why so so"
    )
    assert "..." in found.warning()
    assert read_samples(FileTeacher(kind="file", path=path), []).num_unmatched == 3


def test_a_rationale_needs_an_id_or_a_question(tmp_path):
    path = write_rows(tmp_path, {"rationale": "One."})
    with pytest.raises(KpodError, match=r"line 1: no column 'id'.* or teacher\.columns\.question"):
        samples_of(path)


TEXTS = ("plain", "problem and solution", "prompt and target", "final answer")
WHOLE = ("alpaca", "query and response", "messages", "sharegpt")


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("table", [*TEXTS, *WHOLE])
def test_files_of_every_form_are_a_teachers_rationales(tmp_path, table, ending):
    path = write(tmp_path / f"r.{ending}", TABLES[table])
    questions = [
        Question(f"q{i}", text, answer, "number", (), "train", "")
        for i, (text, _, answer) in enumerate(SIX)
    ]
    expected = [
        (f"q{i}", 0, rationale if table in TEXTS else f"{rationale}\n#### {answer}")
        for i, (_, rationale, answer) in enumerate(SIX)
    ]
    found = read_samples(FileTeacher(kind="file", path=str(path)), questions)
    assert [(s.question_id, s.sample_index, s.text) for s in found.samples] == expected
    assert found.warning() == ""


def test_a_conversation_without_a_reply_is_an_empty_rationale(tmp_path):
    path = write_rows(tmp_path, {"messages": [{"role": "user", "content": "How many eggs?"}]})
    assert samples_of(path, QUESTIONS) == [Sample("a", 0, "", "", 0, "")]


def test_two_columns_for_the_rationale_are_an_error_with_the_setting(tmp_path):
    path = write_rows(tmp_path, {"id": "a", "output": "One.", "response": "Two."})
    with pytest.raises(KpodError, match=r"'output' and 'response'.* teacher\.columns\.rationale"):
        samples_of(path)
    (sample,) = samples_of(path, columns=ColumnsConfig(rationale="response"))
    assert sample.text == "Two."
