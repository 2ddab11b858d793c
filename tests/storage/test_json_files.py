"""JSON files of rows, in the forms in which they are found."""

import json

import pytest

from kpod_ray.errors import KpodError
from kpod_ray.storage.bad_rows import BadRow
from kpod_ray.storage.user_files import read_rows

ROWS = [{"x": 1}, {"x": "\u00e4", "y": [1, {"z": None}]}]


def rows_of(tmp_path, content, name="a.json"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "\ufeff" + json.dumps(ROWS),
        json.dumps({"version": "1.0", "data": ROWS}),
        json.dumps({"train": ROWS}),
        "\n".join(json.dumps(row) for row in ROWS),
    ],
)
def test_every_form_gives_the_same_rows(tmp_path, content):
    assert rows_of(tmp_path, content) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize(
    "row", [{"x": 1}, {"x": []}, {"x": [1]}, {"id": 1, "messages": [{"role": "user"}]}]
)
def test_one_object_is_one_row(tmp_path, row):
    assert rows_of(tmp_path, json.dumps(row)) == [(1, row)]


def test_an_empty_list_has_no_rows(tmp_path):
    assert rows_of(tmp_path, "[]") == []


def test_what_is_no_object_is_a_bad_row(tmp_path):
    found = rows_of(tmp_path, '[{"x": 1}, 5, null]')
    assert found[0] == (1, {"x": 1})
    assert [(line, row.reason) for line, row in found[1:]] == [
        (2, "not an object but int"),
        (3, "not an object but NoneType"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value at line 1 column 1"),
        ('[{"x": 1}\n{"x": 2}]', "Expecting ',' delimiter at line 2 column 1"),
        ("5", "holds no list of objects but int"),
        ('"text"', "holds no list of objects but str"),
        (json.dumps({"a": ROWS, "b": ROWS}), r"several lists of objects \(a, b\)"),
        (json.dumps(ROWS).encode("utf-16"), "not UTF-8 at byte 1"),
        (b'[{"x": "' + b"\xff" + b'"}]', "not UTF-8 at byte 9"),
        ('[{"x": 1, "y": 2, "x": 3}]', "key 'x' is given twice"),
        ("[" * 100_000, "can't be read as JSON"),
        ("[" + "9" * 5000 + "]", "can't be read as JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_naming_it(tmp_path, content, reason):
    with pytest.raises(KpodError, match=reason) as caught:
        rows_of(tmp_path, content)
    assert str(tmp_path / "a.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_with_a_key_twice_is_a_bad_row(tmp_path):
    found = rows_of(tmp_path, '{"x": 1}\n{"x": {"y": 1, "y": 2}}', "a.jsonl")
    assert found[0] == (1, {"x": 1})
    assert isinstance(found[1][1], BadRow)
    assert "key 'y' is given twice" in found[1][1].reason
