"""Export of the finished corpus as JSON Lines, for other trainers and for a new run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

from kpod_ray.config import RunConfig
from kpod_ray.data.corpus import CorpusRow, corpus_rows
from kpod_ray.data.exchange import (
    JsonRow,
    kpod_row,
    messages_row,
    prime_rl_row,
    swift_row,
    trl_row,
)
from kpod_ray.errors import KpodError
from kpod_ray.finished import FinishedRun

FORMATS: Mapping[str, str] = {
    "kpod": "everything; questions, teacher and weigher of a new run can read it",
    "messages": "chats, and the weights of the answers' characters",
    "ms-swift": "train with --loss_scale default --is_binary_loss_scale false, or the weights are lost",
    "prime-rl": "fields of TrainingSample; its own SFT data has no weights",
    "trl": "TRL drops the column weights; a collator of your own can use it",
}
"""What is to be known of each format."""


def export_corpus(run: FinishedRun, out: str, format_name: str) -> int:
    """Write a run's rationales with their token weights, and return how many there are.

    The file appears whole or not at all, in the place of one that was there.

    Args:
        run: its phases ``teacher`` and ``weigh`` must be finished.
        out: local path that ends in ``.jsonl``.
        format_name: one of `FORMATS`.

    Raises:
        KpodError: A phase isn't finished, the format is unknown, or the file can't be written.
    """
    if format_name not in FORMATS:
        raise KpodError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    path = _checked_path(out)
    teacher, weigh = run.finished("teacher"), run.finished("weigh")
    formatted = _formatter(run.config, format_name)
    count = 0
    with _replacement(path) as file:
        for row in corpus_rows(teacher, weigh):
            file.write(json.dumps(formatted(row), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _formatter(config: RunConfig, name: str) -> Callable[[CorpusRow], JsonRow]:
    if name == "trl":
        return functools.partial(trl_row, config.student.template)
    if name == "prime-rl":
        # transformers loads only now
        from kpod_ray.models.folders import MODEL_CACHE, model_folder
        from kpod_ray.models.student import load_tokenizer

        tokenizer = load_tokenizer(model_folder(config.student.model, MODEL_CACHE))
        return functools.partial(prime_rl_row, tokenizer, config.student.template)
    return {"kpod": kpod_row, "messages": messages_row, "ms-swift": swift_row}[name]


def _checked_path(out: str) -> Path:
    path = Path(out).expanduser()
    if "://" in out or path.suffix != ".jsonl" or path.is_dir():
        raise KpodError(f"export to {out}: give a local file that ends in .jsonl")
    if not path.parent.is_dir():
        raise KpodError(f"export to {out}: folder {path.parent} doesn't exist; make it first")
    return path


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[TextIO]:
    """Open a file beside the path that takes its place on success and vanishes on failure."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise KpodError(f"export to {path}: {reason}") from error
    finally:
        temporary.unlink(missing_ok=True)
