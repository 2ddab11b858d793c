"""CSV and TSV files of rows."""

import csv

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow
from kpod_ray.storage.user_files import read_rows


def rows_of(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(str(path)))


def test_values_are_text_as_it_is_written_and_empty_fields_are_null(tmp_path):
    content = 'x,y\n007,1.50\n,""\nNA,null\ntrue,2020-01-01\n" a ",-\n'
    assert rows_of(tmp_path, content) == [
        (1, {"x": "007", "y": "1.50"}),
        (2, {"x": None, "y": None}),
        (3, {"x": "NA", "y": "null"}),
        (4, {"x": "true", "y": "2020-01-01"}),
        (5, {"x": " a ", "y": "-"}),
    ]


def test_quoted_fields_hold_line_breaks_quotes_and_delimiters_as_pythons_writer_writes_them(
    tmp_path,
):
    rows = [{"x": f'a "quoted"\n{i}, {"word " * i}', "y": f"\u00e4 {i}"} for i in range(1, 3000)]
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, ["x", "y"])
        writer.writeheader()
        writer.writerows(rows)
    assert list(read_rows(str(tmp_path / "a.csv"))) == list(enumerate(rows, 1))


def test_a_field_may_be_huge(tmp_path):
    text = "long " * 1_000_000
    assert rows_of(tmp_path, f"x,y\n{text},1\na,2\n")[0] == (1, {"x": text, "y": "1"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "x\ty\na, b\t2\n"),
        ("a.csv", '\ufeffx,y\n"a, b",2\n'),
        ("a.CSV", 'x,y\r\n\r\n"a, b",2\r\n'),
        ("a.csv", 'x,y\n"a, b",2'),
    ],
)
def test_tabs_byte_order_marks_and_windows_line_ends(tmp_path, name, content):
    assert rows_of(tmp_path, content, name) == [(1, {"x": "a, b", "y": "2"})]


def test_the_nameless_column_of_pandas_is_a_column(tmp_path):
    assert rows_of(tmp_path, ",x\n0,a\n") == [(1, {"": "0", "x": "a"})]


def test_rows_of_another_length_are_bad_rows_with_their_number(tmp_path):
    found = rows_of(tmp_path, "x,y\n1,2\n3\n4,5\n6,7,8\n9,10\n")
    good = [(number, row["x"]) for number, row in found if not isinstance(row, BadRow)]
    bad = [(number, row.reason) for number, row in found if isinstance(row, BadRow)]
    assert good == [(1, "1"), (3, "4"), (5, "9")]
    assert bad == [(2, "1 values for 2 columns: '3'"), (4, "3 values for 2 columns: '6,7,8'")]


def test_a_header_alone_has_no_rows(tmp_path):
    assert rows_of(tmp_path, "x,y\n") == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "can't be read as CSV"),
        (b"x,y,x\n1,2,3\n", "column 'x' is named twice"),
        ("x\n\u00e4\n".encode("latin1"), "save it as UTF-8"),
        ("x\u00e4\n1\n".encode("latin1"), "save it as UTF-8"),
        ("x\n1\n".encode("utf-16"), "save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_naming_it(tmp_path, content, reason):
    with pytest.raises(KpodError, match=reason) as caught:
        rows_of(tmp_path, content)
    assert str(tmp_path / "a.csv") in str(caught.value)
    assert "\n" not in str(caught.value)
