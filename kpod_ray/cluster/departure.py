"""Let the workers of a training leave early: save a checkpoint after a train step, and go.

The reasons are the end of the command, SIGTERM to a worker, and a node that is about to be preempted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import ray
import ray.train

from kpod_ray.cluster.interruption import Listener

LEFT = "left"
"""Key of the result of a training whose workers left early."""
_terminated = threading.Event()
"""Set by SIGTERM to this process, which runs one training."""
_former: list[Any] = []
"""The handler of SIGTERM before the training."""


class Departure:
    """Decides on one worker whether the workers leave after the current train step.

    Each worker has its own reasons; the workers must agree by a collective operation before
    they call `leave`. Instances come from `departing`.
    """

    def __init__(self, listener: Listener | None) -> None:
        self.listener = listener

    def is_wanted(self) -> bool:
        """Return whether this worker has a reason to leave; every worker calls this equally often."""
        is_preempted = _is_preempted()  # collective, so not left out for another reason
        is_asked = self.listener is not None and self.listener.is_asked()
        return is_preempted or is_asked or _terminated.is_set()

    def leave(self, kept: str) -> dict[str, Any]:
        """Return the result of a training that left early, after its checkpoint is committed.

        If the command ends, the call tells the driver what is kept, and doesn't return.
        """
        if self.listener is not None and self.listener.is_asked():
            self.listener.saved(kept)
            threading.Event().wait()  # a training that ended would be started again
        return {LEFT: True}


@contextlib.contextmanager
def departing(work: str) -> Iterator[Departure]:
    """Catch SIGTERM, and listen for the end of the command, during the train steps of a worker.

    ``work`` is the name of the training. A second SIGTERM has its former effect, as has one after the
    block.
    """
    is_first = ray.train.get_context().get_world_rank() == 0
    with Listener(work) if is_first else contextlib.nullcontext() as listener, _catching_sigterm():
        yield Departure(listener)


def _is_preempted() -> bool:
    # Ray Train asks a watcher that a local Ray doesn't have, see `connection`.
    if os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER") == "0":
        return False
    return ray.train.get_preemption_info() is not None


@contextlib.contextmanager
def _catching_sigterm() -> Iterator[None]:
    """Have the first SIGTERM set `_terminated` during the block, if this process is a Ray actor."""
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        yield
        return
    # Only the main thread can install a handler. It runs the calls of the actor, not the training.
    this: Any = ray.get_runtime_context().current_actor
    ray.get(this.__ray_call__.remote(_catch))
    try:
        yield
    finally:
        ray.get(this.__ray_call__.remote(_release))


def _catch(_actor: object) -> None:
    """Install the handler of the first SIGTERM in an actor's process."""
    former = signal.getsignal(signal.SIGTERM)

    def note(signum: int, frame: FrameType | None) -> None:
        """Note the first SIGTERM; leave the next one to the former handler."""
        signal.signal(signal.SIGTERM, former)
        _terminated.set()

    _former.append(former)
    signal.signal(signal.SIGTERM, note)


def _release(_actor: object) -> None:
    """Install the former handler of SIGTERM again."""
    signal.signal(signal.SIGTERM, _former.pop())
