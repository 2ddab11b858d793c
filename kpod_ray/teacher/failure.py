"""Say why a teacher left no rationale to train on, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kpod_ray.config import EndpointTeacher, FileTeacher, ReferenceTeacher, RunConfig, VllmTeacher
from kpod_ray.records import VERDICT_MEANINGS, Question, Rationale

_LONGEST_TEXT = 200
"""Characters of a sample's text that are quoted."""
_STRONGER = (
    "use a stronger teacher, more samples, or teacher.fallback=reference where the questions carry "
    "their own rationales"
)
_MENDS: Mapping[str, str] = {
    "wrong": _STRONGER,
    "no_answer": f"ask for the answer in teacher.instruction, or {_STRONGER}",
    "truncated": "raise teacher.max_new_tokens",
    "empty": "check teacher.template and teacher.stop",
    "unreadable": "check the encoding of the texts",
    "leaked": "set teacher.filters.allow_leaks=true, or ask for the reasoning in teacher.instruction",
    "too_short": "lower teacher.filters.min_steps and teacher.filters.min_tokens",
    "too_long": (
        "raise teacher.filters.max_chars, teacher.filters.max_steps and teacher.filters.max_tokens, or "
        "set teacher.thoughts=drop"
    ),
    "minority": "lower teacher.filters.self_consistency, or raise teacher.samples.per_question",
}
"""Most frequent verdict -> what to do."""
_OF_TEXTS = ("wrong", "no_answer", "truncated", "empty")
"""Verdicts for which a file of rationales may have been read from the wrong columns."""


def nothing_left(
    config: RunConfig,
    verdicts: Mapping[str, int],
    rejects: Iterable[Rationale],
    questions: Iterable[Question],
) -> str:
    """Return the message of the error that no rationale is left to train on, in one line.

    The message gives the most frequent verdict with an example, for failed samples the most frequent
    text of an error, and what to do about this verdict.

    Args:
        config: config of the run.
        verdicts: verdict -> number of rationales, none of which is trained on.
        rejects: the rationales.
        questions: the training questions, of which the first is an example.
    """
    head = "no rationale is left to train on"
    if not verdicts:
        return f"{head}: {_nothing(config)}"
    verdict = max(verdicts, key=lambda name: verdicts[name])
    texts = Counter[str]()
    example = None
    for row in rejects:
        if row.verdict == verdict:
            example = example or row
            texts[_line(row.text)] += 1
            if verdict != "error":
                break
    assert example is not None
    total = sum(verdicts.values())
    found = f"{head}: {dict(verdicts)}; {verdicts[verdict]:,} of {total:,} samples"
    if verdict == "error":
        ((text, count),) = texts.most_common(1)
        return f"{found} failed, {count:,} of them with {text!r}; {_mend_of_errors(config)}"
    if verdict == "unknown_question":
        first = next(iter(questions)).id
        return (
            f"{found} belong to no training question: such as id {example.question_id!r}, where "
            f"questions have ids such as {first!r}; {_mend_of_ids(config)}"
        )
    return (
        f"{found}: {VERDICT_MEANINGS[verdict]}, such as {_line(example.text)!r} for question "
        f"{example.question_id}; {_mend(config, verdict)}"
    )


def _mend(config: RunConfig, verdict: str) -> str:
    if isinstance(config.teacher, FileTeacher) and verdict in _OF_TEXTS:
        columns = config.teacher.columns
        return (
            f"check columns {columns.rationale or 'rationale'!r} and {columns.teacher_answer!r} of "
            f"{config.teacher.path}, or {_STRONGER}"
        )
    return _MENDS.get(verdict, _STRONGER)


def _nothing(config: RunConfig) -> str:
    """Return why there is no sample at all."""
    match config.teacher:
        case FileTeacher(path=path):
            return f"{path} holds no row; check teacher.path"
        case ReferenceTeacher():
            return (
                "no training question with an answer has a rationale; set questions.columns.rationale "
                "to the column of the rationales"
            )
        case EndpointTeacher() | VllmTeacher():
            return "there are no samples; raise teacher.samples.per_question"


def _mend_of_errors(config: RunConfig) -> str:
    match config.teacher:
        case EndpointTeacher(base_url=base_url):
            return f"check that {base_url} takes such requests (teacher.model, teacher.extra_body)"
        case FileTeacher(path=path):
            return f"{path} says so (finish reason error): generate these rationales again"
        case VllmTeacher() | ReferenceTeacher():
            return "check teacher.engine_kwargs and the lengths of the questions"


def _mend_of_ids(config: RunConfig) -> str:
    if isinstance(config.teacher, FileTeacher):
        return "set teacher.columns.id to the column with the ids of the questions"
    return "run the phase again with the questions that the samples were made for"


def _line(text: str) -> str:
    """Return the beginning of a text in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]} ..."
