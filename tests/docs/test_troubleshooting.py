"""Messages that the pages explain are messages of the code."""

import ast
import re

import pytest

from tests.docs.pages import ROOT

PAGES = ("troubleshooting.md", "teacher.md", "training.md")
GAP = "\0"


def template(node):
    """Return a text of the code with a gap for what is put in, or None if it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(v) if isinstance(v, ast.Constant) else GAP for v in node.values)
    return None


@pytest.fixture(scope="module")
def templates():
    files = (ROOT / "kpod_ray").rglob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return {" ".join(text.split()) for node in nodes if (text := template(node))}


def messages():
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text()
        for table in text.split("\n| message |")[1:]:
            rows = table.split("\n\n")[0].splitlines()[2:]
            for row in rows:
                for message in re.findall(r"`([^`]+)`", row.split("|")[1]):
                    if not message.isdigit():
                        yield f"{page}: {message}"


@pytest.mark.parametrize("message", list(messages()))
def test_a_message_is_one_of_the_code(message, templates):
    text = re.sub(r"\b[1-5]\d\d\b", "...", message.partition(": ")[2])  # 404 stands for any
    parts = [part.strip() for part in text.split("...") if part.strip()]
    assert max(map(len, parts)) >= len("answers")
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    assert any(pattern.search(text) for text in templates)


def test_there_are_messages():
    assert len(list(messages())) > 40
