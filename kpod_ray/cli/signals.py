"""End a command on SIGINT (Ctrl-C) or SIGTERM: save, say what is kept, and leave nothing behind.

The command runs in a thread of its own, and the main thread waits for signals. The main thread can thus
act at once, whatever the command is doing. Ray Train and Ray Tune would install handlers of their own,
but only in the main thread; Ray's C++ library does in any thread, so ours are installed again and again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from kpod_ray.cli.terminal import Terminal
from kpod_ray.errors import KpodError
from kpod_ray.storage import scratch

SAVE_SECONDS = 15.0
"""Time for trainings and generations to save what is done."""
END_SECONDS = 5.0
"""Time for the processes of a Ray that a command has started to end by themselves."""
INSTALL_SECONDS = 0.1
"""Time between two installations of the handlers: Ray's start replaces that of SIGTERM."""
REPEAT_SECONDS = 0.5
"""Time in which several signals are one: a wrapper may pass on what the terminal has sent, too."""
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_CAUSES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


@dataclasses.dataclass
class Position:
    """How far the command of this process has come, for the message at its end."""

    phase: str | None = None
    """What is being made, such as ``phase train``; None between two phases."""
    done: str = ""
    """The part of it that is done, such as ``5 of 8 texts``."""
    makes_files: bool = True
    """False for a command that has nothing to keep, such as ``kpod chat``."""

    def kept(self, saved: Sequence[str]) -> str:
        """Return what is kept; ``saved`` is what trainings have said that they saved."""
        if self.phase is None:
            return "finished phases are kept"
        done = ", ".join(saved) or self.done
        return f"{done} of {self.phase} are kept" if done else f"all before {self.phase} is kept"


POSITION = Position()
_MODE: list[Any] = []
"""Mode of the terminal that `keep_terminal_mode` has kept."""


def run_interruptibly(command: Callable[[], None], arguments: Sequence[str]) -> None:
    """Run a command in a thread; exceptions pass on. SIGINT and SIGTERM end the process.

    Args:
        command: the command.
        arguments: words after ``kpod``, for the message.

    Raises:
        BaseException: The command raised it.
    """
    errors: list[BaseException] = []
    arrival = _Arrival()
    POSITION.makes_files = True  # until the command says otherwise

    def run() -> None:
        """Run the command, and keep its exception."""
        try:
            with _leaving_ray(), scratch.own_folder():
                command()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)
        finally:
            arrival.event.set()

    thread = threading.Thread(target=run, name="kpod-command", daemon=True)
    with arrival.noted():
        thread.start()
        while not arrival.event.wait(INSTALL_SECONDS):
            arrival.install()
        if arrival.first is not None:
            _end(arrival.first, arguments)
        thread.join()
    if errors:
        raise errors[0]


class _Arrival:
    """Notes the first signal and sets ``event``; a later signal ends the process at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.first: signal.Signals | None = None
        self.time = 0.0

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Handle the signals in the block."""
        former = {signum: signal.getsignal(signum) for signum in EXIT_CODES}
        self.install()
        try:
            yield
        finally:
            for signum, handler in former.items():
                signal.signal(signum, handler)

    def install(self) -> None:
        """Install the handler, over that of any library."""
        for signum in EXIT_CODES:
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # Ray's own handler, if it came first, has set an alarm that aborts the process after 3 s.
        signal.alarm(0)
        if self.first is None:
            self.first, self.time = signal.Signals(signum), time.monotonic()
            self.event.set()
        elif time.monotonic() - self.time > REPEAT_SECONDS:  # the user doesn't want to wait
            _exit(EXIT_CODES[signal.Signals(signum)])


def _end(cause: signal.Signals, arguments: Sequence[str]) -> None:
    """Have everything saved, say so in one line, and exit."""
    try:
        console = Terminal(stderr=True)
        if console.is_terminal:
            console.write_line("saving; once more ends at once", style="yellow")
        line = f"ended by {_CAUSES[cause]}"
        if not POSITION.makes_files and console.is_terminal:
            console.write_line()  # the cursor may be behind a prompt
        if POSITION.makes_files:
            kept = POSITION.kept(_ask_to_save())
            line += f": {kept}; the same command goes on: {typed(arguments)}"
        console.show_cursor()
        console.write_line(f"kpod: {line}", style="yellow")
        sys.stdout.flush()
    finally:
        _exit(EXIT_CODES[cause])


def end_with(error: KpodError) -> None:
    """Print an error, and end the process at once with exit code 2; may be called in any thread."""
    try:
        Terminal(stderr=True).error(str(error))
    finally:
        _exit(2)


def keep_terminal_mode() -> None:
    """Have the end by a signal restore the present mode of the terminal, before `input` changes it."""
    with contextlib.suppress(termios.error, ValueError):  # standard input is no terminal
        _MODE[:] = termios.tcgetattr(sys.stdin)


def _restore_terminal_mode() -> None:
    with contextlib.suppress(OSError, ValueError, termios.error):  # the terminal is gone
        # it would stop a process in the background that changes its mode
        if _MODE and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
            termios.tcsetattr(sys.stdin, termios.TCSANOW, _MODE)


def _exit(code: int) -> None:
    """Leave no process and no temporary file of this command behind, and exit."""
    try:
        _restore_terminal_mode()
        scratch.clear_own()
        _kill_descendants()
    finally:
        os._exit(code)


def _ask_to_save() -> Sequence[str]:
    if "ray" not in sys.modules:
        return []
    from kpod_ray.cluster.interruption import ask_to_save

    return ask_to_save(SAVE_SECONDS)


def typed(arguments: Sequence[str]) -> str:
    """Return the command line as the user typed it; ``arguments`` are the words after ``kpod``."""
    if Path(sys.argv[0]).name == "kpod":
        return shlex.join(["kpod", *arguments])
    return shlex.join(["python", *sys.orig_argv[1:]])


def _kill_descendants() -> None:
    """Kill the processes below those that this process has started, wait for their end, kill the rest.

    The calling process must end afterwards: Ray's library may end it when Ray's processes are gone.
    """
    own = psutil.Process()
    children = own.children()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == "raylet":
                child.suspend()  # else it would start workers in place of the killed ones
    below = [process for process in own.children(recursive=True) if process not in children]
    running = {process.pid: scratch.started(process.pid) for process in below}
    _kill(below)
    deadline = time.monotonic() + END_SECONDS
    while any(start and scratch.started(pid) == start for pid, start in running.items()):
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    scratch.clear()
    _kill(children)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def _leaving_ray() -> Iterator[None]:
    """Leave a Ray that was joined or started in the block, and wait until its processes have ended."""
    was_connected = _is_connected()
    try:
        yield
    finally:
        if not was_connected and _is_connected():
            from kpod_ray.cluster.processes import leave_ray

            leave_ray(END_SECONDS)
            scratch.clear()


def _is_connected() -> bool:
    return "ray" in sys.modules and bool(sys.modules["ray"].is_initialized())
