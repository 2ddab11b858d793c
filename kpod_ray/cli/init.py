"""``kpod init FILE``: look at a file of questions, show what is understood, and write a config."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kpod_ray.cli.show_questions import print_understood, summarize
from kpod_ray.cli.terminal import Terminal, on_one_line
from kpod_ray.config import FileQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.loading import LoadedQuestions, read_questions
from kpod_ray.report.formatting import clipped

_MODEL = "packaged:SmolLM2-135M-Instruct"
"""A model of a Python package, which needs no hub."""
_TEST_FRACTION = 0.2
"""Fraction of the questions for the test where the file names no test questions."""
_ALMOST_ALL = math.nextafter(1, 0)


@dataclasses.dataclass(frozen=True)
class _Understood:
    """A file of questions as it was read."""

    path: str
    loaded: LoadedQuestions
    has_answers: bool
    """Whether the questions have gold answers."""

    @property
    def num_rows(self) -> int:
        """Number of rows of the file."""
        loaded = self.loaded
        return len(loaded.questions) + len(loaded.bad_rows) + loaded.num_repeats


def write_config(path: str, out: str, console: Terminal) -> None:
    """Show how a file of questions is understood, and write a config for it with comments.

    Columns, kinds of answers, three questions and the first bad rows are shown. If no row has an answer,
    the config has the teacher's samples vote. Neither torch nor Ray is loaded.

    Args:
        path: file of questions, see `read_rows`; it may hold the rationales, too.
        out: file of the config, which mustn't exist.
        console: terminal.

    Raises:
        KpodError: ``out`` exists or can't be written, or the file can't be read or has no row that can
            be used as a training question.
    """
    target = Path(out).expanduser()
    if target.exists():
        raise KpodError(
            f"{out} exists, and kpod init overwrites nothing; name another file by --out"
        )
    found = _understood(path)
    summary = summarize(found.loaded.questions, 3, found.loaded.bad_rows)
    print_understood(summary, found.loaded.columns, console)
    text = "\n".join(_lines(found)) + "\n"
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise KpodError(f"{out} can't be written: {error.strerror}") from error
    console.write_line("")
    console.write_line(
        f"wrote {out}; next: kpod run {out} --until questions, then kpod doctor {out}"
    )


def _understood(path: str) -> _Understood:
    """Read a file of questions; without any answer, read the questions alone."""
    config = FileQuestions(source="file", path=path, max_bad_fraction=_ALMOST_ALL)
    try:
        loaded, has_answers = read_questions(config, 0), True
    except KpodError as error:
        open_config = config.model_copy(update={"allow_missing_answers": True})
        try:
            loaded, has_answers = read_questions(open_config, 0), False
        except KpodError:
            raise error from None
    if all(question.split == "test" for question in loaded.questions):
        raise KpodError(
            f"{path} has no training question among {len(loaded.questions)} questions; give the file "
            "of the training questions"
        )
    return _Understood(path, loaded, has_answers)


def _lines(found: _Understood) -> Iterator[str]:
    """Yield the lines of the config."""
    yield "# Written by kpod init. docs/reference.md explains every setting."
    yield f"name: {_name(found.path)}"
    yield "# storage: ~/kpod_runs   # folder of all results"
    yield from _question_lines(found)
    yield from _teacher_lines(found)
    yield "student:"
    yield f"  model: {_MODEL}   # or a folder, or a name on the hub"


def _question_lines(found: _Understood) -> Iterator[str]:
    yield "questions:"
    yield "  source: file"
    yield f"  path: {_quoted(found.path)}   # from where kpod is started"
    yield from _column_lines(found.loaded.columns[found.path])
    if found.loaded.num_repeats:
        yield f"  # {found.loaded.num_repeats} rows repeat an earlier row, and are left out"
    bad = found.loaded.bad_rows
    if bad:
        fraction = min(math.ceil(len(bad) / found.num_rows * 1000) / 1000, 0.999)
        reason = on_one_line(clipped(str(bad[0]), 200))
        yield f"  # {len(bad)} of {found.num_rows} rows can't be used: {reason}"
        yield f"  max_bad_fraction: {fraction:g}   # a larger fraction of such rows ends the run"
    if not found.has_answers:
        yield "  allow_missing_answers: true   # what most samples of the teacher agree on is right"
        yield "  # test_path: FILE with answers, for the test"
    elif not any(question.split == "test" for question in found.loaded.questions):
        yield f"  test_fraction: {_TEST_FRACTION}   # or test_path: FILE with the test questions"


def _column_lines(columns: Mapping[str, str]) -> Iterator[str]:
    """Yield the setting of the columns whose names aren't those of the settings."""
    turns = columns.get("messages")
    named = {
        role: name
        for role, name in columns.items()
        if name != role and role != "context" and (role == "messages" or name != turns)
    }
    if "context" in columns:
        yield f"  # the column {_quoted(columns['context'])} follows the question's"
    if turns:
        yield "  # questions and replies are read from the conversations"
    if named:
        yield "  columns:"
        yield from (f"    {role}: {_quoted(name)}" for role, name in named.items())


def _teacher_lines(found: _Understood) -> Iterator[str]:
    questions = [q for q in found.loaded.questions if q.split == "train"]
    num_rationales = sum(bool(question.reference_rationale) for question in questions)
    yield "teacher:"
    if found.has_answers and 2 * num_rationales >= len(questions):
        yield f"  kind: reference   # {num_rationales} of {len(questions)} questions have a rationale"
        yield "  # rationales of another file: kind: file, and path: FILE"
        yield "  # new rationales: kind: vllm, and model: NAME (docs/teacher.md)"
        return
    yield "  kind: vllm   # writes the rationales"
    yield f"  model: {_MODEL}   # a stronger model has more of them right"
    yield "  # rationales of a file: kind: file, and path: FILE, without the other settings"
    yield f"  samples: {{per_question: {4 if found.has_answers else 8}}}"
    if not found.has_answers:
        yield "  filters: {self_consistency: 0.6}   # fraction of samples that must agree"


def _name(path: str) -> str:
    """Return a name for a run, from the name of a file."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(path).stem).strip("-._")[:100]
    return _quoted(name) if name else "mine"


def _quoted(text: str) -> str:
    """Return a text in double quotes, as YAML reads it."""
    return json.dumps(text)
