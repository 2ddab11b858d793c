"""Rows of user files, and their fields."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow
from kpod_ray.storage.user_files import (
    FieldError,
    id_field,
    optional_text_field,
    read_rows,
    text_field,
)


def written(path, content):
    path.write_bytes(content)
    return str(path)


def bad_row(path, content):
    """Return the only bad row of a file."""
    (bad,) = [row for _, row in read_rows(written(path, content)) if isinstance(row, BadRow)]
    return bad


def test_lines_are_numbered_from_one_and_blank_lines_are_no_rows(tmp_path):
    path = written(tmp_path / "a.jsonl", b'{"x": 1}\n\n  \n{"x": 2}\r\n{"x": "\xc3\xa4"}')
    assert list(read_rows(path)) == [(1, {"x": 1}), (4, {"x": 2}), (5, {"x": "ä"})]


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = written(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"x": 1}\n')
    assert list(read_rows(path)) == [(1, {"x": 1})]


def test_a_line_separator_inside_a_text_ends_no_row(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"x": "a\u2028b"}\n'.encode())
    assert list(read_rows(path)) == [(1, {"x": "a\u2028b"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"x": 1', "not JSON"),
        (b"[1, 2]", "not an object but list"),
        (b"null", "not an object but NoneType"),
        (b'{"x": "\xff"}', "not UTF-8 at byte 8"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_object_is_a_bad_row_and_the_others_are_read(tmp_path, line, reason):
    path = written(tmp_path / "a.jsonl", b'{"x": 1}\n{"x": 2}\n' + line + b'\n{"x": 4}\n')
    rows = dict(read_rows(path))
    assert (rows[1], rows[2], rows[4]) == ({"x": 1}, {"x": 2}, {"x": 4})
    assert isinstance(rows[3], BadRow)
    assert str(rows[3]).startswith(f"{path} line 3: {reason}")
    assert "\n" not in str(rows[3])


def test_broken_json_names_its_column(tmp_path):
    assert "column 9" in bad_row(tmp_path / "a.jsonl", b'{"x": 1 "y": 2}').reason


def test_parquet_rows_are_numbered_from_one_across_batches(tmp_path):
    table = pa.table({"x": list(range(3000)), "choices": [["a", "b"]] * 3000})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=700)
    rows = list(read_rows(str(tmp_path / "a.parquet")))
    assert [number for number, _ in rows] == list(range(1, 3001))
    assert [row["x"] for _, row in rows] == list(range(3000))
    assert rows[5][1]["choices"] == ["a", "b"]


def test_a_parquet_text_that_is_not_utf8_is_a_bad_row(tmp_path):
    column = pa.array([b"one", b"\xff\xfe", b"three"]).view(pa.string())
    pq.write_table(pa.table({"x": column}), tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    rows = list(read_rows(path))
    assert rows == [(1, {"x": "one"}), (2, BadRow(path, 2, "not UTF-8")), (3, {"x": "three"})]
    assert str(rows[1][1]) == f"{path} row 2: not UTF-8"


def test_rows_are_streamed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n' * 200_000)
    rows = read_rows(str(path))
    assert next(rows) == (1, {"x": 1})
    with path.open("a") as stream:
        stream.write('{"x": "late"}\n')
    assert list(rows)[-1] == (200_001, {"x": "late"})


@pytest.mark.parametrize("name", ["missing.jsonl", "folder.jsonl", "a.xlsx", "a", "b.parquet"])
def test_a_file_that_cannot_be_read_is_one_line_naming_it(tmp_path, name):
    (tmp_path / "folder.jsonl").mkdir()
    for other in ("a.xlsx", "a", "b.parquet"):
        (tmp_path / other).write_text("x,y\n1,2\n")
    with pytest.raises(KpodError) as caught:
        list(read_rows(str(tmp_path / name)))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_file_is_a_kpod_error(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": ["text" * 9] * 5000}), path, compression="none")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 396 + content[400:])
    with pytest.raises(KpodError, match="can't be read as Parquet"):
        list(read_rows(str(path)))


def test_a_wrong_ending_is_told_before_any_row_is_asked_for(tmp_path):
    path = written(tmp_path / "a.txt", b'{"x": 1}\n')
    with pytest.raises(
        KpodError, match=r"'\.txt'; the ending must be \.jsonl, \.json, .* or \.parquet"
    ):
        read_rows(path)


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), (-1, "-1"), (" a ", " a ")])
def test_ids_are_text_or_whole_numbers(value, text):
    assert id_field({"id": value}, "id") == text


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "field 'id' is missing"),
        ({"id": None}, "field 'id' is missing"),
        ({"id": " "}, "field 'id' is empty"),
        ({"id": 1.5}, "field 'id' must be text, not float"),
        ({"id": True}, "field 'id' must be text, not bool"),
        ({"id": ["a"]}, "field 'id' must be text, not list"),
        ({"id": json.loads('"\\ud800"')}, "field 'id' holds half a surrogate pair"),
    ],
)
def test_other_ids_are_refused_with_the_field_named(row, reason):
    with pytest.raises(FieldError, match=reason):
        id_field(row, "id")


def test_a_number_is_no_text():
    with pytest.raises(FieldError, match="field 'question' must be text, not int"):
        text_field({"question": 3}, "question")


def test_an_optional_text_may_be_missing_or_null_or_empty_but_no_number():
    assert [optional_text_field(row, "x") for row in ({}, {"x": None}, {"x": ""})] == ["", "", ""]
    with pytest.raises(FieldError, match="field 'x' must be text, not int"):
        optional_text_field({"x": 0}, "x")
