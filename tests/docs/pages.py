"""The code blocks of the pages, and the commands in them.

A comment before a block says what its text doesn't:

- ``<!-- run -->``: the tests run its commands, in the page's own folder
- ``<!-- needs: a cluster -->``: it needs what tests have not, and is only checked as far as it can be
- ``<!-- file: NAME -->``: it is that file of the page's folder
- ``<!-- text -->``: neither commands nor settings of ours
"""

import dataclasses
import json
import re
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {
    *("kpod", "make", "python", "pip", "pytest", "ray", "swift", "git", "wandb", "kubectl", "helm"),
    *("docker", "aws", "gcloud", "export", "curl", "vllm", "ssh", "cd", "mkdir", "uv", "conda"),
}
_MARK = re.compile(r"<!-- (run|text|needs|file)(?:: (.+))? -->")
_FENCE = re.compile(r"(`{3,})\s*(\w*)")
_VARIABLE = re.compile(r"[A-Z_]+=\S*")
_LANGUAGES = {"sh": "shell", "bash": "shell", "console": "shell", "yaml": "yaml", "": ""}


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of code."""

    page: str
    line: int
    text: str
    kind: str
    """``shell``, ``yaml``, ``json`` or ``text``."""
    marks: dict[str, str]

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclasses.dataclass(frozen=True)
class Command:
    """One command line."""

    block: Block
    words: tuple[str, ...]
    """Without variables before it."""

    def __str__(self):
        return f"{self.block}: {shlex.join(self.words)}"

    @property
    def is_usage(self):
        """Whether it has places to fill in, or is only named."""
        if not self.block.line and len(self.words) == 2:
            return True
        return any(word[0] == "[" or word in ("CONFIG", "RUN", "PHASE") for word in self.words)

    @property
    def is_setting(self):
        """Whether it only sets variables."""
        return self.words[0] == "export"


def blocks_of(name, text):
    """Return the code blocks of a page, fenced and indented."""
    lines = text.splitlines()
    blocks, marks, at = [], {}, 0
    while at < len(lines):
        mark, fence = _MARK.fullmatch(lines[at]), _FENCE.fullmatch(lines[at])
        start, language = at, fence and fence[2]
        if mark:
            marks[mark[1]] = mark[2] or ""
        elif fence:
            at = lines.index(fence[1], at + 1)
        elif lines[at].startswith("    ") and (not at or not lines[at - 1]):
            while at + 1 < len(lines) and (not lines[at + 1] or lines[at + 1].startswith("    ")):
                at += 1
        elif lines[at]:
            marks = {}
        if fence or (lines[start].startswith("    ") and (not start or not lines[start - 1])):
            inside = (
                lines[start + 1 : at] if fence else [line[4:] for line in lines[start : at + 1]]
            )
            inner = "\n".join(inside).rstrip() + "\n"
            kind = "text" if "text" in marks else _kind_of(inner, language or "")
            blocks.append(Block(name, start + 1, inner, kind, marks))
            marks = {}
        at += 1
    return blocks


def _kind_of(text, language):
    if _LANGUAGES.get(language, language):
        return _LANGUAGES.get(language, language)
    if any(_program(line) for line in text.splitlines()):
        return "shell"
    if all(_is_json(line) for line in text.splitlines()):
        return "json"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return "text"
    is_settings = isinstance(value, dict) and all(re.fullmatch("[a-z_]+", str(k)) for k in value)
    return "yaml" if is_settings else "text"


def _is_json(line):
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def _program(line):
    words = [word for word in line.split() if not _VARIABLE.fullmatch(word)]
    name = words[0].rpartition("/")[2] if words else ""
    return name if name in PROGRAMS else None


def commands_of(block):
    """Return the commands of a block of them; what isn't one is an error."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and _VARIABLE.fullmatch(words[0]):
            words.pop(0)
        if words:
            found.append(Command(block, tuple(words)))
    return found


def sentences_of(name, text):
    """Return the commands that stand inside the text, as code."""
    found = []
    for line in re.findall(r"(?<!`)`((?:kpod|make|python) [a-z-][^`]*)`", text):
        found.append(Command(Block(name, 0, line, "shell", {}), tuple(shlex.split(line))))
    return found


TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
BLOCKS = [block for page in TEXTS.items() for block in blocks_of(*page)]
COMMANDS = [command for block in BLOCKS if block.kind == "shell" for command in commands_of(block)]
SENTENCES = [command for page in TEXTS.items() for command in sentences_of(*page)]


def folder_of(page, folder):
    """Make the folder in which a page's commands run: its files, and those of the repository."""
    for name in ("configs", "jobs", "docs"):
        (folder / name).symlink_to(ROOT / name)
    for block in BLOCKS:
        if block.page == page and "file" in block.marks:
            (folder / block.marks["file"]).write_text(block.text)
    return folder
