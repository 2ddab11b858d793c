"""Export of the finished corpus as JSON Lines, for other trainers and for a new run."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from kpod_ray.config import RunConfig
from kpod_ray.data.corpus import CorpusRow, Span, corpus_rows
from kpod_ray.data.examples import build_example, spread_weights
from kpod_ray.data.prompts import Template, messages, plain_text, question_text, target_text
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.records import WeightedRationale

FORMATS: Mapping[str, str] = {
    "kpod": "everything; questions, teacher and weighting of a new run can read it",
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
        from kpod_ray.models.student import load_tokenizer

        tokenizer = load_tokenizer(config.student.model)
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


JsonRow = dict[str, Any]


def kpod_row(row: CorpusRow) -> JsonRow:
    """Return everything that is known of a rationale: a question, a teacher's row and its weights.

    It has the default columns of `FileQuestions` and `FileTeacher`, and those of `FileWeighting`.
    """
    question, rationale, weighted = row.question, row.rationale, row.weighted
    return {
        "id": question.id,
        "question": question.question,
        "answer": question.answer,
        "kind": question.kind,
        "choices": list(question.choices),
        "split": question.split,
        "rationale": weighted.text,
        "weights": token_spans(weighted),
        "steps": list(zip(weighted.step_starts, weighted.step_ends, strict=True)),
        "teacher": rationale.teacher,
        "sample_index": rationale.sample_index,
        "teacher_answer": rationale.predicted_answer,
        "finish_reason": rationale.finish_reason,
        "num_tokens": rationale.num_tokens,
        "logprob": rationale.logprob,
    }


def messages_row(row: CorpusRow) -> JsonRow:
    """Return a chat, and spans of the assistant's text; its answer segment weighs 1."""
    text, spans = weighted_target(row)
    turns = messages(question_text(row.question))
    turns.append({"role": "assistant", "content": text})
    return {"id": row.question.id, "messages": turns, "weights": spans}


def trl_row(template: Template, row: CorpusRow) -> JsonRow:
    """Return a prompt and a completion, as turns of a chat or as text, and spans of the latter."""
    text, spans = weighted_target(row)
    asked = question_text(row.question)
    pair: JsonRow = {"prompt": plain_text(asked), "completion": text}
    if template == "chat":
        pair = {
            "prompt": messages(asked),
            "completion": [{"role": "assistant", "content": text}],
        }
    return {"id": row.question.id, **pair, "weights": spans}


def swift_row(row: CorpusRow) -> JsonRow:
    """Return a chat whose answer is cut into turns of one token weight each, for ms-swift.

    ms-swift joins the assistant's turns without anything between them.
    """
    turns: list[JsonRow] = [*messages(question_text(row.question))]
    for text, weight in weighted_pieces(row):
        turns.append({"role": "assistant", "content": text, "loss_scale": weight})
    return {"id": row.question.id, "messages": turns}


def prime_rl_row(tokenizer: Any, template: Template, row: CorpusRow) -> JsonRow:
    """Return the fields of prime-rl's ``TrainingSample``, tokenised as our students are trained.

    All lists have one value for each token of the prompt and the target.
    """
    example = build_example(tokenizer, row.question, row.weighted, template)
    num_prompt, num_target = len(example.prompt_ids), len(example.target_ids)
    length = num_prompt + num_target
    return {
        "token_ids": [*example.prompt_ids, *example.target_ids],
        "mask": [False] * num_prompt + [True] * num_target,
        "logprobs": [0.0] * length,
        "temperatures": [1.0] * length,
        "env_name": "kpod",
        "rl_weights": [0.0] * length,
        "ce_weights": [0.0] * num_prompt + short_floats(example.token_weights),
    }


def token_spans(weighted: WeightedRationale) -> list[Span]:
    """Return the token weights of a rationale as spans of its text."""
    weights = short_floats(weighted.token_weights)
    return list(zip(weighted.token_starts, weighted.token_ends, weights, strict=True))


def weighted_target(row: CorpusRow) -> tuple[str, list[Span]]:
    """Return what a student writes, and its spans: the rationale's tokens and the answer segment."""
    text, answer_start = target_text(row.weighted.text, row.question.answer)
    spans = [
        (start, min(end, answer_start), weight)
        for start, end, weight in token_spans(row.weighted)
        if start < min(end, answer_start)
    ]
    return text, [*spans, (answer_start, len(text), 1.0)]


def weighted_pieces(row: CorpusRow) -> list[tuple[str, float]]:
    """Cut what a student writes into pieces of one weight; joined, they give the text again.

    White space before a token goes with it. Tokens that share characters, as the bytes of one sign,
    are one piece with their mean weight; text that belongs to no token has the rationale's mean.
    """
    text, spans = weighted_target(row)
    *of_tokens, (answer_start, _, _) = spans
    ends = sorted({end for _, end, _ in of_tokens} | {answer_start} - {0})
    starts = [0, *ends][: len(ends)]
    weights = spread_weights(row.weighted, np.array(starts, np.int64), np.array(ends, np.int64))
    pieces = zip(starts, ends, short_floats(weights), strict=True)
    joined = [
        ("".join(text[start:end] for start, end, _ in group), weight)
        for weight, group in itertools.groupby(pieces, key=lambda piece: piece[2])
    ]
    return [*joined, (text[answer_start:], 1.0)]


def short_floats(values: Iterable[float]) -> list[float]:
    """Return numbers with the fewest digits that give the same 32-bit numbers."""
    return [float(text) for text in np.fromiter(values, np.float32).astype(str)]
