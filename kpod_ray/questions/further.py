"""Further test sets (``evaluation.also``), without the training questions of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kpod_ray.config import ArithmeticQuestions, QuestionsConfig
from kpod_ray.errors import KpodError
from kpod_ray.questions.contamination import (
    Contamination,
    find_contamination,
    without_equal_questions,
    without_numbers,
)
from kpod_ray.questions.loading import read_questions
from kpod_ray.records import Question
from kpod_ray.storage.bad_rows import BadRow

FURTHER_ARTIFACTS = ("questions_also", "evaluate_also_before", "evaluate_also")
"""Artifacts that a run with further test sets has beside the others: the questions of all sets, and the
evaluations of the untouched and of the distilled student."""


@dataclasses.dataclass(frozen=True)
class FurtherSet:
    """A further test set after cleaning."""

    questions: list[Question]
    """Questions to answer, at least one, all of the split ``test``, in the order of the source."""
    num_repeats: int
    """Number of questions that were left out because they equal an earlier question of the set."""
    contamination: list[Contamination]
    """Questions that were left out because they repeat a training question."""
    bad_rows: list[BadRow]
    """Rows that can't be used, each with the reason."""


def questions_table(name: str) -> str:
    """Return the name of the table with the questions of a further test set."""
    return f"questions_{name}"


def load_further_set(
    name: str, config: QuestionsConfig, seed: int, training: Sequence[Question]
) -> FurtherSet:
    """Load a further test set without the questions that a student may have learned by heart.

    The set consists of the test questions of the source, or of all its questions if none is a test
    question. A question that is equal or nearly equal to a training question is left out, by the rules
    of `find_contamination`, and so is a question that equals an earlier one of the set. Numbers and
    answers don't count, because sets were made from each other by changing them, such as SVAMP from
    ASDiv; for generated questions they do, because few phrasings are all that such questions have.

    Args:
        name: name of the set, for messages.
        config: source of the set; each question has an answer.
        seed: seed of the run, see `read_questions`.
        training: training questions of the run; other questions are ignored.

    Raises:
        KpodError: As in `read_questions`, or no question is left.
    """
    try:
        loaded = read_questions(config, seed)
    except KpodError as error:
        raise KpodError(f"evaluation.also.{name}: {error}") from error
    tests = [question for question in loaded.questions if question.split == "test"]
    asked = [dataclasses.replace(q, split="test") for q in tests or loaded.questions]
    distinct = without_equal_questions(asked)
    same = isinstance(config, ArithmeticQuestions)
    repeats = _repeats_of(
        training, distinct, (lambda question: question) if same else without_numbers
    )
    dropped = {repeat.test_id for repeat in repeats}
    left = [question for question in distinct if question.id not in dropped]
    if not left:
        raise KpodError(
            f"evaluation.also.{name}: no question is left of {len(asked):,}, of which {len(dropped):,} "
            "repeat a training question; give another set"
        )
    return FurtherSet(left, len(asked) - len(distinct), repeats, loaded.bad_rows)


def _unchanged(question: Question) -> Question:
    return question


def _repeats_of(
    training: Sequence[Question],
    tests: Sequence[Question],
    compared: Callable[[Question], Question],
) -> list[Contamination]:
    """Return the test questions that repeat a training question, each with the most similar one.

    ``compared`` returns what is compared of a question. `find_contamination` reports each training
    question once. The similarity is symmetric, so the splits are swapped for the search, and swapped
    back in the result.
    """
    train = [question for question in training if question.split == "train"]
    swapped = [dataclasses.replace(compared(question), split="train") for question in tests]
    swapped += [dataclasses.replace(compared(question), split="test") for question in train]
    asked, learned = ({q.id: q.question for q in rows} for rows in (tests, train))
    return [
        Contamination(
            repeat.test_id,
            repeat.train_id,
            repeat.similarity,
            learned[repeat.test_id],
            asked[repeat.train_id],
        )
        for repeat in find_contamination(swapped)
    ]
