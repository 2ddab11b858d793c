"""Print the answers of the untouched and the distilled student: reasoning steps, then the answer."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.answers.final_sentence import strip_closing
from kpod_ray.cli.terminal import Terminal
from kpod_ray.records import Prediction, Question
from kpod_ray.report.formatting import visible

SIDE_BY_SIDE = 100
"""Fewest columns of a terminal on which the two answers stand side by side."""
LABELS = ("untouched student", "distilled student")


def print_answers(
    question: Question,
    predictions: tuple[Prediction, Prediction],
    split_newlines: bool,
    console: Terminal,
) -> None:
    """Print both predictions, side by side from `SIDE_BY_SIDE` columns on, else one below the other.

    Of a question of the run, a line with its split, id and gold answer stands before. ``predictions``
    are of the untouched and of the distilled student; ``split_newlines`` is whether a newline ends a
    reasoning step.
    """
    if question.id:
        console.write_line(
            f"{_KINDS[question.split]} {question.id}, gold answer {question.answer or 'none'}",
            style="dim",
        )
    bodies = [_body(prediction, split_newlines) for prediction in predictions]
    if console.width >= SIDE_BY_SIDE:
        table = Table.grid(*LABELS, padding=(0, 2), expand=True)
        table.show_header = True
        for column in table.columns:
            column.ratio = 1
        table.add_row(*bodies)
        console.print(table)
        return
    for label, body in zip(LABELS, bodies, strict=True):
        console.write_line((label, "bold"))
        console.print(body)


_KINDS = {"train": "training question", "test": "test question"}


def _body(prediction: Prediction, split_newlines: bool) -> Table:
    """Return numbered reasoning steps, the closing, and a line with the extracted answer."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", style="dim")
    grid.add_column()
    for mark, text in shown_steps(prediction, split_newlines):
        grid.add_row(mark, Text(visible(text)))
    grid.add_row("", _answer_line(prediction))
    return grid


def shown_steps(prediction: Prediction, split_newlines: bool) -> list[tuple[str, str]]:
    """Return the lines of a prediction's text, each with the number of its reasoning step.

    The number is empty beside the sentence that announces the answer, and beside the message of an error
    row. ``split_newlines`` is whether a newline ends a reasoning step.
    """
    if prediction.finish_reason == "error":
        return [("", prediction.text)]
    text = prediction.text.strip()
    reasoning = strip_closing(text)
    steps = split_steps(reasoning, split_newlines=split_newlines)
    lines = [(str(n), reasoning[start:end].strip()) for n, (start, end) in enumerate(steps, 1)]
    closing = text[len(reasoning) :].strip()
    return [*lines, ("", closing)] if closing else lines


def _answer_line(prediction: Prediction) -> Text:
    """Return the extracted answer, whether it is right if that is known, and the length of the text."""
    line = Text(f"answer: {visible(prediction.predicted_answer) or 'none'}", style="bold")
    if prediction.gold_answer:
        word, color = ("right", "green") if prediction.is_correct else ("wrong", "red")
        line.append(f" ({word})", style=color)
    if prediction.finish_reason == "error":
        return line
    ending = ", cut off there" if prediction.finish_reason == "length" else ""
    return line.append(f"  {prediction.num_tokens} tokens{ending}", style="not bold dim")
