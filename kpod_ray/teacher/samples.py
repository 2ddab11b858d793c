"""Samples of a teacher before filtering: from completions, or from a file of rationales."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable

from kpod_ray.inference.records import Completion
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Manifest


@dataclasses.dataclass(frozen=True)
class Sample:
    """One text of a teacher for one question, before filtering."""

    question_id: str
    sample_index: int
    """Number of the sample among the samples of its question, from 0."""
    text: str
    """Whole text of the teacher; the error message with finish reason ``error``."""
    finish_reason: str
    """``stop``, ``length``, ``error`` or another word of the source; empty when unknown."""
    num_tokens: int
    """Generated tokens; 0 when unknown."""
    teacher_answer: str
    """Answer given in a column of its own beside the text, else empty. It takes precedence over the
    answer in the text."""
    logprob: float | None = None
    """Log-probability of the text under the teacher, in nats; None when unknown."""
    num_prompt_tokens: int = 0
    """Tokens of the prompt; 0 when unknown."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """All samples of a teacher, looked up by question."""

    teacher: str
    """Name of the teacher, written into the column ``teacher`` of the rationales."""
    samples_of: Callable[[list[Question], int], list[list[Sample]]]
    """Takes a batch of training questions and the position, from 0, of the batch's first question among
    all training questions; returns the samples of each question, an empty list for none. Called once for
    each batch, in order."""
    others: Callable[[], Iterable[Sample]] = list
    """Returns the samples that belong to no training question; called once, after the last batch."""
    details: Manifest = dataclasses.field(default_factory=dict)
    """Entries about the generation or the file for the manifest of phase ``teacher``."""


def corpus_of(teacher: str, samples: Iterable[Sample]) -> Corpus:
    """Return a corpus of existing samples, in any order; the corpus returns each sample only once.

    ``samples_of`` removes the samples that it returns, so that ``others``, called after the last batch,
    returns the samples whose ``question_id`` no training question has. The samples of one question keep
    their order. ``teacher`` is the teacher's name.
    """
    by_question = defaultdict[str, list[Sample]](list)
    for sample in samples:
        by_question[sample.question_id].append(sample)

    def samples_of(batch: list[Question], first: int) -> list[list[Sample]]:
        """Return the samples of each question, and forget these samples."""
        return [by_question.pop(question.id, []) for question in batch]

    def others() -> Iterable[Sample]:
        """Return the samples that `samples_of` hasn't returned."""
        return [sample for samples in by_question.values() for sample in samples]

    return Corpus(teacher, samples_of, others)


def sample_of_completion(completion: Completion, question_id: str, sample_index: int) -> Sample:
    """Return a completion, which may be an error row, as a sample of its question.

    ``sample_index`` counts the samples of the question from 0. Its ``teacher_answer`` is an empty
    text: the answer is extracted from the rationale later.
    """
    return Sample(
        question_id,
        sample_index,
        completion.text,
        completion.finish_reason,
        completion.num_tokens,
        "",
        completion.logprob,
        completion.num_prompt_tokens,
    )
