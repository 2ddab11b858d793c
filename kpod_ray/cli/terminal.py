"""The one printer of the command line: everything that kpod prints passes through `Terminal`.

Texts are plain: nothing in a path, a server's answer or a model's output is read as Rich's markup or as
the name of an emoji, and control and format characters are shown by visible ones.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from kpod_ray.report.formatting import visible

_SECRET = re.compile(
    r"(?<=:/)(/?)[^/\s@]+(?=@)|([?&][\w-]*(?:key|token|secret|password|sig(?:nature)?)=)[^&\s]+",
    re.I,
)
"""User names, passwords and keys in addresses; before each, what is kept."""
Part = str | tuple[str, str]
"""A text, or a text and its style, such as ``bold``."""


class Terminal(Console):
    """A console of Rich that prints texts, tables and progress bars as they are.

    Args:
        options: arguments of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def write_line(self, *parts: Part, style: str = "") -> None:
        """Print one line, never wrapped: line breaks in a text are shown by a sign, too."""
        texts = (part if isinstance(part, tuple) else (part, "") for part in parts)
        line = Text.assemble(*((on_one_line(text), look) for text, look in texts))
        self.print(line, style=style or None, soft_wrap=True)

    def error(self, message: str) -> None:
        """Print ``kpod:`` and a message, in one red line."""
        self.write_line(f"kpod: {message}", style="red")

    def markdown(self, text: str) -> None:
        """Print the headings and tables of a Markdown text."""
        self.print(Markdown(visible(text), hyperlinks=False))

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as Rich's text; Rich would drop some control characters silently."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of anything that is printed, with plain texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=self._plain(segment.text))

    def _plain(self, text: str) -> str:
        return _shown(text).encode(self.encoding, "backslashreplace").decode(self.encoding)


def progress_bar(console: Terminal) -> Progress:
    """Return a progress bar without tasks, shown while used as a context; it vanishes at the end."""
    description = TextColumn("  {task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _shown(text: str) -> str:
    """Return a visible text with ``***`` in place of keys in addresses, such as the user typed them."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2] or ''}***", visible(text))


def on_one_line(text: str) -> str:
    """Return a text in which line breaks and tabs are visible, too."""
    return _shown(text).translate({ord("\n"): "\u240a", ord("\t"): "\u2409"})


class PlainFormatter(logging.Formatter):
    """Formats log records as visible text; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        return on_one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record and its traceback, if any."""
        return _shown(super().format(record))


def show_warnings(file: IO[str] | None = None) -> None:
    """Print the warnings of all loggers, each in a line, to a file or, with None, to stderr."""
    handler = logging.StreamHandler(file)
    handler.setFormatter(PlainFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
