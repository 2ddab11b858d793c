"""``kpod show``: the table and the options that are asked for. Other modules load after the checks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from kpod_ray.cli.terminal import Terminal
from kpod_ray.errors import KpodError

TABLE_OPTIONS: Mapping[str, tuple[str, ...]] = {  # table -> options that it accepts
    "questions": ("num", "question"),
    "rationales": ("num", "question", "verdict"),
    "schedule": (),
}
NUM_SHOWN = 5  # default of --num


def show_table(
    run: str, words: Sequence[str], options: Mapping[str, Any], console: Terminal
) -> None:
    """Print the state of a run or one of its tables.

    Args:
        run: YAML file of settings, or folder of a run.
        words: name of a table, if one is wanted, and overrides, in any order.
        options: ``num``, ``question`` and ``verdict``; None for an option that isn't given.
        console: where to print.

    Raises:
        KpodError: The table is unknown or doesn't accept an option, or the run can't be read.
    """
    table, overrides = _table_and_overrides(words)
    _check_options(table, options)
    num = NUM_SHOWN if options["num"] is None else options["num"]
    if table == "questions":
        _show_questions(run, overrides, (num, options["question"]), console)
    elif table == "rationales":
        _show_rationales(run, overrides, (options["verdict"], options["question"], num), console)
    elif table == "schedule":
        _show_schedule(run, overrides, console)
    else:
        _show_run(run, overrides, console)


def check_known(kind: str, name: str, known: Sequence[str]) -> None:
    """Refuse an unknown name by a `KpodError` that suggests the most similar known name."""
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f", did you mean {nearest[0]}?" if nearest else ""
        raise KpodError(f"unknown {kind} {name!r}{hint} (there are {', '.join(known)})")


def _table_and_overrides(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split the words after RUN into table and overrides; refuse several tables or an unknown one."""
    tables = [word for word in words if "=" not in word]
    for name in tables:
        check_known("table", name, tuple(TABLE_OPTIONS))
    if len(tables) > 1:
        raise KpodError(f"kpod show shows one table at a time (got {', '.join(tables)})")
    return (tables[0] if tables else None), [word for word in words if "=" in word]


def _check_options(table: str | None, given: Mapping[str, object]) -> None:
    """Refuse options that the table (None: state of the run) doesn't accept; not given: value None."""
    for option, value in given.items():
        if value is not None and option not in TABLE_OPTIONS.get(table or "", ()):
            takers = [name for name, options in TABLE_OPTIONS.items() if option in options]
            raise KpodError(f"--{option} is an option of kpod show RUN {' and '.join(takers)}")


def _show_run(run: str, overrides: list[str], console: Terminal) -> None:
    from kpod_ray.cli.show_run import print_run
    from kpod_ray.pipeline.lookup import find_run

    print_run(find_run(run, overrides), console)


def _show_questions(
    run: str, overrides: list[str], shown: tuple[int, str | None], console: Terminal
) -> None:
    from kpod_ray.cli.show_questions import collect_questions, print_questions
    from kpod_ray.pipeline.lookup import find_run

    num, question = shown
    questions = find_run(run, overrides).finished("questions")
    print_questions(collect_questions(questions, num, question), num, console)


def _show_rationales(
    run: str, overrides: list[str], selected: tuple[str | None, str | None, int], console: Terminal
) -> None:
    from kpod_ray.cli.corpus_summary import Selection
    from kpod_ray.cli.show_rationales import print_rationales
    from kpod_ray.pipeline.lookup import find_run

    selection = Selection(*selected)
    found = find_run(run, overrides)
    # a phase that failed for want of a good rationale has written its tables, too
    is_sampled = found.artifacts["teacher"].has("rejects")
    for phase in ("questions",) if is_sampled else ("teacher", "questions"):
        found.finished(phase)
    print_rationales(found.artifacts, selection, console)


def _show_schedule(run: str, overrides: list[str], console: Terminal) -> None:
    from kpod_ray.cli.show_schedule import collect_stages, print_schedule
    from kpod_ray.pipeline.lookup import find_run

    found = find_run(run, overrides)
    for phase in ("plan", "assess"):
        found.finished(phase)
    print_schedule(collect_stages(found.artifacts), console)
