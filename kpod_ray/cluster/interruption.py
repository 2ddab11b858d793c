"""Tell all work of a command that the command ends, and wait until the work is saved.

The driver of a command asks (`ask_to_save`). Pieces of work in any process, such as a training or an
actor that generates texts, listen (`Listener`), save what is done, and answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any

import ray
from ray.exceptions import RayError

NAME = "kpod-interruption"
"""Name of the actor. Every driver has a Ray namespace of its own."""
_started: dict[str, Any] = {}
"""Ray namespace -> handle of its actor, which dies when the process that started it drops the handle."""


class Interruption:
    """Knows whether the command ends, and which work isn't saved yet; used as a Ray actor."""

    def __init__(self) -> None:
        self.is_asked = False
        self.unsaved = set[str]()
        self.kept: list[str] = []
        self.changed = asyncio.Condition()

    async def enter(self, work: str) -> None:
        """Record that the work has begun; `ask` waits for it from now on."""
        self.unsaved.add(work)

    async def wait(self, work: str) -> bool:
        """Wait until the command ends (True), or until the work has ended before (False)."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.is_asked or work not in self.unsaved)
        return self.is_asked

    async def leave(self, prefix: str, kept: str = "") -> None:
        """Record that the work whose names begin with ``prefix`` has ended or is saved.

        ``kept`` says how far the work has come, such as ``5 of 8 train steps``.
        """
        self.kept += [kept] if kept else []
        async with self.changed:
            self.unsaved = {work for work in self.unsaved if not work.startswith(prefix)}
            self.changed.notify_all()

    async def ask(self) -> list[str]:
        """Ask all work to save; return what is kept, once all work is saved."""
        async with self.changed:
            self.is_asked = True
            self.changed.notify_all()
            await self.changed.wait_for(lambda: not self.unsaved)
        return self.kept


def start() -> Any:
    """Return the handle of the driver's `Interruption` actor, which is started if it is missing."""
    namespace = ray.get_runtime_context().namespace
    if namespace not in _started:
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
        actor_class: Any = ray.remote(Interruption)
        actor = actor_class.options(name=NAME, get_if_exists=True, **options).remote()
        _started[namespace] = actor
    return _started[namespace]


def ask_to_save(seconds: float) -> list[str]:
    """Ask all work of this driver to save; return what is kept, after at most ``seconds``."""
    if not ray.is_initialized():
        return []
    with contextlib.suppress(
        RayError, ValueError
    ):  # no actor: Ray has just been started, or is ending
        kept: list[str] = ray.get(ray.get_actor(NAME).ask.remote(), timeout=seconds)
        return kept
    return []


def forget(prefix: str) -> None:
    """Record that the work whose names begin with ``prefix`` has ended."""
    start().leave.remote(prefix)


class Listener:
    """A piece of work, during a ``with`` block, that saves what is done when the command ends.

    Without a connection to Ray, the work is never asked to save.

    Args:
        work: name of the work; a restarted work has the same name.
    """

    def __init__(self, work: str) -> None:
        self.work = work
        self.actor = start() if ray.is_initialized() else None
        self.answer = None
        if self.actor is not None:
            # The calls of several processes arrive in any order: without waiting, `ask` could be first.
            ray.get(self.actor.enter.remote(work))
            self.answer = self.actor.wait.remote(work)

    def is_asked(self) -> bool:
        """Return at once whether the command ends."""
        if self.answer is None or not ray.wait([self.answer], timeout=0)[0]:
            return False
        with contextlib.suppress(RayError):
            return bool(ray.get(self.answer))
        return False

    async def wait(self) -> bool:
        """Wait until the command ends (True), or until the work has ended (False)."""
        return self.answer is not None and bool(await self.answer)

    def saved(self, kept: str = "") -> None:
        """Answer that the work is saved; see `Interruption.leave`."""
        if self.actor is not None:
            self.actor.leave.remote(self.work, kept)

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.actor is not None:
            self.actor.leave.remote(self.work)
