"""Export the weighted rationales of a run as JSON Lines, for other trainers and for new runs.

There is one function for each format that converts a rationale to a JSON row. A *span* is
``(start, end, weight)``: the characters ``[start, end)`` of a text, and their weight.
"""

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
from kpod_ray.storage.filesystems import local_path

FORMATS: Mapping[str, str] = {
    "kpod": "everything; questions, teacher and weighting of a new run can read it",
    "messages": "chats, and the weights of the answers' characters",
    "ms-swift": "train with --loss_scale default --is_binary_loss_scale false, or the weights are lost",
    "prime-rl": "fields of TrainingSample; its own SFT data has no weights",
    "trl": "TRL drops the column weights; a collator of your own can use it",
}
"""Export format -> the remark that ``kpod export`` prints about the format."""


def export_corpus(run: FinishedRun, out: str, format_name: str) -> int:
    """Write the rationales of a run with their token weights to a file; return their number.

    The write is atomic: on success the file replaces an existing one; on failure the existing file
    stays.

    Args:
        run: run whose phases ``teacher`` and ``weigh`` are finished.
        out: local path that ends in ``.jsonl``; ``~`` is expanded. The folder must exist.
        format_name: one of `FORMATS`.

    Raises:
        KpodError: A phase isn't finished, the format is unknown, ``out`` is no such path, its folder
            doesn't exist, a file can't be read or written or was changed, or (``prime-rl`` only)
            `load_tokenizer` refuses the student's tokenizer or the tokenizer lacks the chat template
            of ``student.template``.
        OSError: With ``prime-rl``, as in `load_tokenizer`.
        ValueError: A token weight or a log-probability isn't finite; or, with ``prime-rl``, as in
            `load_tokenizer`.
    """
    if format_name not in FORMATS:
        raise KpodError(f"unknown format {format_name!r}; there are {', '.join(FORMATS)}")
    path = _checked_path(out)
    teacher = run.finished("teacher")
    weigh = run.finished("weigh")
    formatted = _formatter(run.config, format_name)
    count = 0
    with _replacement(path) as file:
        for row in corpus_rows(teacher, weigh):
            file.write(json.dumps(formatted(row), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _formatter(config: RunConfig, name: str) -> Callable[[CorpusRow], JsonRow]:
    """Return the function that converts a rationale to a JSON row of the format ``name``."""
    if name == "trl":
        return functools.partial(trl_row, config.student.template)
    if name == "prime-rl":
        # imported here because the import loads transformers, which no other format needs
        from kpod_ray.models.student import load_tokenizer

        tokenizer = load_tokenizer(config.student.model)
        return functools.partial(prime_rl_row, tokenizer, config.student.template)
    return {"kpod": kpod_row, "messages": messages_row, "ms-swift": swift_row}[name]


def _checked_path(out: str) -> Path:
    """Return the path of the output file.

    Raises:
        KpodError: The path is an address, doesn't end in ``.jsonl``, or its folder doesn't exist.
    """
    path = local_path(out)
    if "://" in out or path.suffix != ".jsonl" or path.is_dir():
        raise KpodError(f"export to {out}: give a local file that ends in .jsonl")
    if not path.parent.is_dir():
        raise KpodError(f"export to {out}: folder {path.parent} doesn't exist; make it first")
    return path


@contextlib.contextmanager
def _replacement(path: Path) -> Iterator[TextIO]:
    """Open a temporary file beside the path; rename it to the path on success, delete it on failure.

    Raises:
        KpodError: The file can't be written.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            # without fsync, a crash after the rename could leave an empty file under the final name
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
    """Return a row of the format ``kpod``: question, rationale with its origin, and token weights.

    A new run can read the row as a row of `FileQuestions`, of `FileTeacher` (default columns) and of
    `FileWeighting`. ``weights`` and ``steps`` hold positions in the text of ``rationale``, which has no
    closing answer sentence.
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
    """Return a row of the format ``messages``, with the keys ``id``, ``messages`` and ``weights``.

    ``messages`` are a user message with the text of `question_text`, and an assistant message with the
    text of `weighted_target`; ``weights`` are the spans of `weighted_target`.
    """
    text, spans = weighted_target(row)
    turns = messages(question_text(row.question))
    turns.append({"role": "assistant", "content": text})
    return {"id": row.question.id, "messages": turns, "weights": spans}


def trl_row(template: Template, row: CorpusRow) -> JsonRow:
    """Return a row of the format ``trl``, with the keys ``id``, ``prompt``, ``completion``, ``weights``.

    ``id`` is the question's id; completion and ``weights`` are the text and spans of `weighted_target`.
    With template ``chat``, prompt and completion are lists of messages, with ``plain`` plain text.
    """
    text, spans = weighted_target(row)
    question = question_text(row.question)
    pair: JsonRow = {"prompt": plain_text(question), "completion": text}
    if template == "chat":
        pair = {
            "prompt": messages(question),
            "completion": [{"role": "assistant", "content": text}],
        }
    return {"id": row.question.id, **pair, "weights": spans}


def swift_row(row: CorpusRow) -> JsonRow:
    """Return a row of the format ``ms-swift``: a chat with one assistant turn for each weighted piece.

    The turns are the pieces of `weighted_pieces`, with the weight as ``loss_scale``: ms-swift has one
    ``loss_scale`` per turn and concatenates consecutive assistant turns without a separator.
    """
    turns: list[JsonRow] = [*messages(question_text(row.question))]
    for text, weight in weighted_pieces(row):
        turns.append({"role": "assistant", "content": text, "loss_scale": weight})
    return {"id": row.question.id, "messages": turns}


def prime_rl_row(tokenizer: Any, template: Template, row: CorpusRow) -> JsonRow:
    """Return a row of the format ``prime-rl``: the fields of prime-rl's ``TrainingSample``.

    All lists have one value for each token of prompt and target. ``mask`` is false for the prompt and
    true for the target. ``ce_weights`` is 0 for the prompt, the token weight (w of Eq. 3) for the
    rationale, and 1 for the answer segment and the end-of-sequence token. Settings that cut, weigh or
    leave out examples, such as ``student.max_length``, aren't applied.

    Args:
        tokenizer: tokenizer of the student, from `load_tokenizer`.
        template: prompt template of the student.
        row: rationale to convert.

    Raises:
        KpodError: The template is ``chat``, and the tokenizer has no chat template.
    """
    example = build_example(tokenizer, row.question, row.weighted, template)
    num_prompt = len(example.prompt_ids)
    num_target = len(example.target_ids)
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
    """Return the spans of a rationale's text that have a weight of their own, in order.

    These are the tokens; a file of weights has spans of its own, and a run without weights one span.

    A span is ``(start, end, weight)`` in characters; the weight is rounded by `short_floats`.
    """
    weights = short_floats(weighted.token_weights)
    return list(zip(weighted.token_starts, weighted.token_ends, weights, strict=True))


def weighted_target(row: CorpusRow) -> tuple[str, list[Span]]:
    """Return the target text of a student (rationale and answer segment) and its weighted spans.

    The last span is the answer segment, with weight 1. The spans before are those of `token_spans`, cut
    where the answer segment begins; empty spans are left out.
    """
    text, answer_start = target_text(row.weighted.text, row.question.answer)
    # target_text strips the rationale's end, so that the last tokens may reach into the answer segment
    spans = [
        (start, min(end, answer_start), weight)
        for start, end, weight in token_spans(row.weighted)
        if start < min(end, answer_start)
    ]
    return text, [*spans, (answer_start, len(text), 1.0)]


def weighted_pieces(row: CorpusRow) -> list[tuple[str, float]]:
    """Cut the target text of a student into pairs of a piece of text and its weight.

    Concatenated, the pieces are the target text. The last piece is the answer segment, with weight 1.
    The other pieces end where a token ends or the rationale does, and include text that no token covers,
    such as white space. The weight of a piece is the mean token weight of its characters; where tokens
    overlap, each counts. A piece without a token has the mean weight of the rationale's tokens, or 1 if
    the rationale has no token. Neighbouring pieces with the same weight are joined.
    """
    text, spans = weighted_target(row)
    *token_parts, (answer_start, _, _) = spans
    ends = sorted({end for _, end, _ in token_parts} | {answer_start} - {0})
    starts = [0, *ends][: len(ends)]
    weights = spread_weights(row.weighted, np.array(starts, np.int64), np.array(ends, np.int64))
    pieces = zip(starts, ends, short_floats(weights), strict=True)
    joined = [
        ("".join(text[start:end] for start, end, _ in group), weight)
        for weight, group in itertools.groupby(pieces, key=lambda piece: piece[2])
    ]
    return [*joined, (text[answer_start:], 1.0)]


def short_floats(values: Iterable[float]) -> list[float]:
    """Round numbers to float32, and return each as the float with the fewest digits that equals it.

    JSON then holds ``0.1`` and not ``0.10000000149011612``.
    """
    return [float(text) for text in np.fromiter(values, np.float32).astype(str)]
