"""The one reader of settings takes what JSON can hold, and refuses the rest in one line."""

import json
import math

import pytest
import yaml

from kpod_ray.config.reading.strict_yaml import YamlError, read_yaml, write_yaml
from tests.conftest import REPOSITORY

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n"
    for below, name in zip("abcdef", "bcdefg", strict=True)
)
MERGE_BOMB = "m0: &m0 {a: 1}\n" + "".join(
    f"m{i + 1}: &m{i + 1} {{<<: [{', '.join([f'*m{i}'] * 10)}]}}\n" for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: ", {"a": None}),
        ("1e-4", 1e-4),
        ("[1e5, 1.5, .5, 1_000, 0x1f, 0b11, 1E3, -1.5e+3, +7, 1.]", None),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("no", False),
        ("'no'", "no"),
        ("[On, off, Yes, TRUE]", [True, False, True, True]),
        ("'2024-01-01'", "2024-01-01"),
        ("1e", "1e"),
        ("=", "="),
        ("0", 0),
        ("-0.5", -0.5),
        ("9223372036854775807", 2**63 - 1),
        ("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}}),
        ("x: &x [1]\ny: *x", {"x": [1], "y": [1]}),
        ('"tab\\tand line\\n"', "tab\tand line\n"),
    ],
)
def test_a_text_has_the_value_that_it_seems_to_have(text, value):
    if value is None and text.startswith("["):
        value = [1e5, 1.5, 0.5, 1000, 31, 3, 1000.0, -1500.0, 7, 1.0]
    found = read_yaml(text)
    assert found == value
    assert type(found) is type(value)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", r"^key 'a' is given twice \(lines 1 and 3\); remove one$"),
        ("{a: {b: 1, b: 2}}", "^key 'b' is given twice; remove one$"),
        ("<<: {a: 1}\n<<: {b: 1}", "key '<<' is given twice"),
        ("&a [*a]", "inside its own anchor"),
        ("x: &a {b: *a}", "inside its own anchor"),
        (BOMB, "more than 100000 values"),
        (MERGE_BOMB, "more than 100000 values"),
        ("[" * 5000, "nested deeper than 20"),
        ("[" * 30 + "]" * 30, "nested deeper than 20"),
        ("a: 2024-01-01", "'2024-01-01' is of the type 'timestamp'; put it in quotes"),
        ("a: 2024-01-01 10:00:00", "'timestamp'"),
        ("a: !!set {x}", "type 'set'"),
        ("!!omap [a: 1]", "type 'omap'"),
        ("!!pairs [a: 1]", "type 'pairs'"),
        ("!!binary aGk=", "type 'binary'"),
        ("!!python/object/apply:os.system [id]", "type 'python/object"),
        ("!mine x", "type '!mine'"),
        ("!!bool maybe", "type 'bool'"),
        ("!!int five", "no whole number"),
        (".inf", "no finite number"),
        ("-.inf", "no finite number"),
        (".nan", "no finite number"),
        ("1e999", "no finite number"),
        ("9" * 5000, "no whole number of 64 bits"),
        ("9223372036854775808", "no whole number of 64 bits"),
        ("-99999999999999999999", "no whole number of 64 bits"),
        ("010", "'010' begins with 0"),
        ("1: a", "key '1' is not text"),
        ("on: a", "key 'on' is not text"),
        ("~: a", "key '~' is not text"),
        ("[a]: b", "a key is not text"),
        ("a: \x1b[31m", r"character '\\x1b' is not allowed"),
        ("a: \x00", r"character '\\x00' is not allowed"),
        ("a: \udc80", r"character '\\udc80' is not allowed"),
        (r'"\x1b[31m"', r"character '\\x1b'"),
        (r'"\0"', r"character '\\x00'"),
        (r'"\ud800"', r"character '\\ud800'"),
        (r'"\x85"', r"character '\\x85'"),
        ("a: b: c", r"not YAML: mapping values are not allowed here \(line 1, column 5\)"),
        ("a: 'b", "not YAML"),
        ("\ta: b", "not YAML"),
        ("*a", "undefined alias"),
        ("--- a\n--- b", "another document"),
        ("%YAML 9.9\n---\na", "version"),
    ],
)
def test_what_json_cannot_hold_is_refused_in_one_short_line(text, words):
    with pytest.raises(YamlError, match=words) as caught:
        read_yaml(text)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 200


FILES = [  # those of Kubernetes hold numbers in quotes
    path
    for path in sorted((REPOSITORY / "configs").rglob("*.yaml"))
    if not path.name.startswith("ray")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_shipped_files_read_as_with_pyyaml_but_for_numbers_with_an_exponent(path):
    def with_numbers(node):
        if isinstance(node, dict):
            return {key: with_numbers(value) for key, value in node.items()}
        if isinstance(node, list):
            return [with_numbers(value) for value in node]
        try:
            return float(node) if isinstance(node, str) else node
        except ValueError:
            return node

    text = path.read_text()
    assert read_yaml(text) == with_numbers(yaml.safe_load(text))
    assert math.isfinite(read_yaml("1e308"))


TEXTS = [
    *("1e5", "12e45678", "089", "010", "0x1f", "1:30", "1_000", "no", "on", "y", "2024-01-01", "~"),
    *(
        "",
        " ",
        "null",
        ".inf",
        ".nan",
        "=",
        "<<",
        "- a",
        "a: b",
        "# a",
        "tab\tline\n",
        "'",
        '"',
        "é😀",
    ),
    *(
        "1.",
        ".5",
        "+7",
        "-",
        "?",
        "!x",
        "&a",
        "*a",
        "%a",
        "@a",
        "`a",
        "{",
        "[1",
        "a\n\nb\n",
        "\n a",
    ),
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_read_again(text):
    value = {"text": text, text: [text, 1e-05, 1e22, 3, -0.0, True, None, {text: (text,)}]}
    found = read_yaml(write_yaml(value))
    assert found == {**value, text: [*value[text][:-1], {text: [text]}]}
    assert [type(item) for item in found[text]] == [type(item) for item in value[text]]
