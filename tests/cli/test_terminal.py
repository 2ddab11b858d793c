"""Everything that kpod prints passes one printer, which prints hostile texts as they are."""

import ast
import io
import json
import logging
import sys
import unicodedata

import pytest
from rich.table import Table
from rich.text import Text

from kpod_ray.cli.doctor import Finding, print_findings
from kpod_ray.cli.main import main
from kpod_ray.cli.terminal import PlainFormatter, Terminal, on_one_line, progress_bar
from kpod_ray.report.formatting import visible
from tests.cli.refusals import refused
from tests.conftest import REPOSITORY
from tests.json_lines import write_lines

HOSTILE = {
    "[bold]v2[/bold] [/] [red]": "[bold]v2[/bold] [/] [red]",
    ":key: :warning:": ":key: :warning:",
    "\x1b[31mred\x1b[0m": "\u241b[31mred\u241b[0m",
    "\x1b]8;;https://evil\x07link": "\u241b]8;;https://evil\u2407link",
    "a\rb\x08\x0b\x0c\x07\x00": "a\u240db\u2408\u240b\u240c\u2407\u2400",
    "\x9b31m\x7f": "[U+009B]31m[U+007F]",
    "abc\u202etxt.exe\u2066": "abc[U+202E]txt.exe[U+2066]",
    "zero\u200bwidth\u200d\ufeff\u00ad": "zero[U+200B]width[U+200D][U+FEFF][U+00AD]",
    "tag\U000e0041": "tag[U+E0041]",
    "half \ud800": "half \ufffd",
    "[link=https://evil]x[/link]": "[link=https://evil]x[/link]",
    "C:\\path\\[v2]": "C:\\path\\[v2]",
}
SPY = "\x1b]0;title\x07[bold]:key:\u202e"
SHOWN = "\u241b]0;title\u2407[bold]:key:[U+202E]"


def printed(write, **options):
    out = io.StringIO()
    write(Terminal(file=out, width=200, **options))
    return out.getvalue()


def table(text):
    grid = Table(text, title=text, caption=text)
    grid.add_row(text)
    return grid


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "write",
    [
        lambda text: lambda console: console.write_line(text),
        lambda text: lambda console: console.write_line((text, "bold"), text, style="red"),
        lambda text: lambda console: console.error(text),
        lambda text: lambda console: console.print(text, soft_wrap=True),
        lambda text: lambda console: console.print(Text(text), soft_wrap=True),
        lambda text: lambda console: console.print(table(text)),
        lambda text: lambda console: print_findings([Finding("a", text)], console),
    ],
)
def test_a_hostile_text_is_printed_as_it_is(write, text):
    out = printed(write(text))
    assert HOSTILE[text] in out or Text(text).plain != text  # Rich's own Text drops some letters
    assert not [c for c in out if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_progress_bar_shows_a_hostile_text(text):
    def write(console):
        with progress_bar(console) as bar:
            bar.add_task(text, total=2)
            bar.refresh()

    out = printed(write, force_terminal=True, color_system=None, legacy_windows=False)
    assert "\x1b]" not in out
    assert "\x1b[31m" not in out
    assert not set(out) & set("\x07\x08\x0b\x0c\x00\x9b\u202e\u2066\u200b\ufeff\ud800")
    if "[" in text and "\x1b" not in text:
        assert HOSTILE[text] in out


def test_a_line_is_one_line():
    assert (
        printed(lambda console: console.write_line("a\nkpod: b\tc\u2028d" + 300 * "x")).count("\n")
        == 1
    )
    assert on_one_line("a\nb\tc") == "a\u240ab\u2409c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run s3://id:pw@b/runs/x?", "run s3://***@b/runs/x?"),
        ("config https:/me:pw@x/y.yaml: no", "config https:/***@x/y.yaml: no"),
        ("s3://b/x?region=a&secret_key=pw c", "s3://b/x?region=a&secret_key=*** c"),
        ("https://h/v1?api-key=pw", "https://h/v1?api-key=***"),
        ("https://h/@me and a@b, 1:2@3", "https://h/@me and a@b, 1:2@3"),
        ("C:/a b@c", "C:/a b@c"),
    ],
)
def test_keys_in_addresses_are_masked(text, shown):
    for write in (Terminal.write_line, Terminal.print, Terminal.error):
        assert shown in printed(lambda console, write=write: write(console, text))


def test_markdown_makes_no_links():
    out = printed(
        lambda console: console.markdown(f"# a\n\n[x](https://evil) {SPY}"), force_terminal=True
    )
    assert "\x1b]8" not in out
    assert "\x07" not in out


def test_every_control_and_format_character_is_made_visible():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            is_kept = visible(character) == character
            assert is_kept == (character in "\n\t"), hex(code)


def test_a_terminal_of_another_encoding_gets_what_it_can_show():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Terminal(file=out, width=80).write_line("5 \u20ac \x1b")
    out.flush()
    assert out.buffer.getvalue() == b"5 \\u20ac \\u241b\n"


def test_log_lines_are_plain_and_keep_the_lines_of_a_traceback():
    formatter = PlainFormatter("%(levelname)s %(name)s: %(message)s")
    record = logging.LogRecord("a", logging.WARNING, "", 0, "x%s\ny", (SPY,), None)
    assert formatter.format(record) == f"WARNING a: x{SHOWN}\u240ay"
    try:
        raise ValueError(SPY)
    except ValueError:
        record.exc_info = sys.exc_info()
    lines = formatter.format(record).splitlines()
    assert len(lines) > 3
    assert lines[-1] == f"ValueError: {SHOWN}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", f"{SPY}.yaml"),
        ("compare", f"{SPY}.yaml"),
        ("sweep", f"{SPY}.yaml"),
        ("run", "x.yaml", "--until", SPY),
        ("show", f"{SPY}.yaml"),
        ("show", f"{SPY}.yaml", "questions"),
        ("show", f"{SPY}.yaml", "rationales"),
        ("show", f"{SPY}.yaml", "schedule"),
        ("show", "x.yaml", SPY),
        ("chat", f"{SPY}.yaml"),
        ("run", f"{SPY}.yaml", "--dry-run"),
        ("export", f"{SPY}.yaml", "a.jsonl"),
        ("sync", f"{SPY}.yaml"),
        ("dashboard", f"{SPY}.yaml"),
        ("doctor", f"{SPY}.yaml"),
    ],
)
def test_every_command_prints_a_hostile_name_as_it_is(capsys, arguments):
    line = refused(capsys, *arguments)
    assert not [c for c in line if unicodedata.category(c) in ("Cc", "Cf")]
    assert SHOWN in line or repr(SPY)[1:-1] in line


def test_hostile_questions_and_file_names_are_shown(capsys, tmp_path):
    path = tmp_path / "a[v2] :key: \u202e.jsonl"
    rows = [
        {"id": f"q{i}{SPY}", "question": f"Why {i}?{SPY}", "answer": f"5{SPY}"} for i in range(6)
    ]
    write_lines(path, [*rows, '{"id": "bad"'])
    settings = [
        f"storage={json.dumps(str(tmp_path / 'store [v2] :key:'))}",
        f"questions={json.dumps({'source': 'file', 'path': str(path), 'test_fraction': 0.5})}",
    ]
    smoke = str(REPOSITORY / "configs" / "smoke.yaml")
    line = refused(capsys, "run", smoke, *settings, "--until", "questions")
    assert "a[v2] :key: [U+202E].jsonl line 7" in line
    write_lines(path, rows)
    for command in (("run", "--until", "questions"), ("show",), ("show", "questions")):
        with pytest.raises(SystemExit) as ended:
            main([command[0], smoke, *command[1:], *settings])
        assert not ended.value.code
        out = capsys.readouterr().out
        assert not [c for c in out if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert SHOWN in out
    with pytest.raises(SystemExit):
        main(["show", smoke, *settings])
    assert f"{tmp_path}/store [v2] :key:/runs/smoke" in capsys.readouterr().out


def test_nothing_else_prints():
    """Only `kpod_ray.cli.terminal` makes a console, a log handler or a text from Rich's markup."""
    printers = {"print", "Console", "StreamHandler", "basicConfig", "from_markup", "from_ansi"}
    printers |= {"echo", "secho", "Markdown", "TextColumn", "rprint"}
    for path in [*(REPOSITORY / "kpod_ray").rglob("*.py"), *(REPOSITORY / "jobs").rglob("*.py")]:
        if path.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module != "rich.markup", path
                assert not (node.module == "rich" and "print" in {a.name for a in node.names}), path
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            owner = ast.unparse(node.func).rpartition(".")[0]
            is_printer = name == "print" and owner.endswith("console")
            assert name not in printers or is_printer, (path, node.lineno)
            assert name != "write" or owner not in ("sys.stdout", "sys.stderr"), (path, node.lineno)
            assert "markup" not in {word.arg for word in node.keywords}, (path, node.lineno)
