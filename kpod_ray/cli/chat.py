"""``kpod chat``: ask both students of a run. Torch loads after the run is found and has a student."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kpod_ray.cli.chat_answers import print_answers
from kpod_ray.cli.signals import POSITION, keep_terminal_mode
from kpod_ray.cli.terminal import Terminal
from kpod_ray.data.prompts import question_text
from kpod_ray.errors import KpodError

if TYPE_CHECKING:
    from kpod_ray.records import Question

MAX_TEMPERATURE = 100.0
"""Largest temperature that is accepted."""
PROMPT = "question> "


def chat(
    place: str,
    overrides: Sequence[str],
    asked: Sequence[str],
    temperature: float,
    console: Terminal,
) -> None:
    """Print the answers of the untouched and the distilled student of a run to some questions.

    Args:
        place: YAML file of settings, or folder of a run whose phases ``questions`` and ``train`` are
            finished.
        overrides: settings that change those of the YAML file.
        asked: the questions. Without any, standard input is one question, or if it is a terminal, the
            user is asked for questions until the end of the input (Ctrl-D).
        temperature: see `TextGenerator`; 0 is greedy, as in phase ``evaluate``.
        console: where to print.

    Raises:
        KpodError: A question is blank, the temperature is out of range, the run can't be read or isn't
            finished, or a student can't be loaded.
    """
    from kpod_ray.pipeline.lookup import find_run

    if not 0 <= temperature <= MAX_TEMPERATURE:
        raise KpodError(f"--temperature: expected a number from 0 to 100 (got {temperature})")
    POSITION.makes_files = False
    run = find_run(place, overrides)
    train = run.finished("train")
    rows = run.finished("questions").read("questions")
    is_interactive = not asked and sys.stdin.isatty()
    given = [] if is_interactive else [_checked(text) for text in asked or [sys.stdin.read()]]
    from kpod_ray.pipeline.student_pair import load_pair, question_of  # loads torch
    from kpod_ray.records import Question

    questions = Question.from_table(rows)
    console.write_line(f"distilled student: {train.store.address(train.folder)}/student")
    with console.status("loading both students"):
        pair = load_pair(run, temperature)
    for text in _typed(questions, console) if is_interactive else given:
        if not is_interactive:
            console.write_line(("question: ", "bold"), text.strip())
        question = question_of(text, questions)
        with console.status("both students answer"):
            predictions = pair.answer(question)
        print_answers(question, predictions, run.config.steps.split_newlines, console)


def _checked(text: str) -> str:
    """Return a question, or refuse a blank one."""
    if not text.strip():
        raise KpodError("there is no question; give --question TEXT, or type it on standard input")
    return text


def _typed(questions: Sequence[Question], console: Terminal) -> Iterator[str]:
    """Yield what the user types, line by line without blank lines, until the end of the input."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` a history and keys to edit the line
    example = next((q for q in questions if q.split == "test"), questions[0])
    console.write_line(f"type a question, such as: {question_text(example)}", style="dim")
    console.write_line("Ctrl-D ends", style="dim")
    keep_terminal_mode()
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            console.write_line()
            return
        if line.strip():
            yield line
