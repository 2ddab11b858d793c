"""Ask a generating teacher for samples, round after round, and only for those that aren't there.

Completions lie in a folder of their own, named by what determines them: the teacher and its sampling
settings. Whatever run asks for the same samples, now or later, finds them there.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from kpod_ray.config import GeneratingTeacher
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.missing import OnRows, StartPool, generate_missing
from kpod_ray.inference.requests import generation_requests
from kpod_ray.records import GenerationRequest, Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.teacher.samples import Sample, sample_of_completion

BATCH_ROWS = 2048
"""Questions in memory at the same time."""


@dataclasses.dataclass(frozen=True)
class SamplingPlan:
    """Whom to ask, and where the answers are kept."""

    teacher: GeneratingTeacher
    fingerprint: str
    """Of the teacher and its sampling."""
    start_pool: StartPool
    artifact: Artifact
    on_rows: OnRows

    @property
    def folder(self) -> str:
        """Folder of the completions in the store."""
        return f"completions/{self.fingerprint}"


@dataclasses.dataclass
class SampleIndex:
    """All samples of a corpus, found by their questions."""

    plan: SamplingPlan
    completions: CompletionIndex
    num_rounds: np.ndarray
    """How often each training question was asked, in the order of the training questions."""
    num_generated: int = 0
    """Samples that weren't there before."""
    nodes: set[str] = dataclasses.field(default_factory=set)
    """Ids of the nodes that they were generated on."""

    def samples(self, questions: list[Question], first: int) -> list[list[Sample]]:
        """Return the samples of some questions, the first of which has a position in the order."""
        num = self.plan.teacher.samples.per_question
        rounds = self.num_rounds[first : first + len(questions)].tolist()
        indices = [range(num * rounds_asked) for rounds_asked in rounds]
        requests = [
            [request.id for request in generation_requests([q], of_q, self.plan.fingerprint)]
            for q, of_q in zip(questions, indices, strict=True)
        ]
        found = iter(self.completions.find([row_id for ids in requests for row_id in ids]))
        return [
            [sample_of_completion(next(found), q.id, index) for index in of_q]
            for q, of_q in zip(questions, indices, strict=True)
        ]


def training_batches(questions: Artifact) -> Iterator[list[Question]]:
    """Yield the training questions of an artifact in order, some at a time."""
    for table in questions.batches("questions", BATCH_ROWS):
        yield [q for q in Question.from_table(table) if q.split == "train"]


def ask(
    plan: SamplingPlan, questions: Artifact, is_solved: Callable[[Question, list[Sample]], bool]
) -> SampleIndex:
    """Get all samples that the settings ask for.

    Args:
        plan: whom to ask, and where to keep the answers.
        questions: holds the training questions.
        is_solved: whether a question needs no further round.

    Raises:
        KpodError: The teacher can't be used.
    """
    samples = plan.teacher.samples
    num_questions = sum(len(batch) for batch in training_batches(questions))
    completions = CompletionIndex(plan.artifact.store, plan.folder)
    index = SampleIndex(plan, completions, np.zeros(num_questions, np.int32))
    is_open = np.ones(num_questions, bool)
    for round_index in range(1 + samples.retry_rounds):
        first = round_index * samples.per_question
        indices = range(first, first + samples.per_question)
        batches = _batches(index, questions, is_open, indices)
        made = generate_missing(batches, completions, plan.artifact, plan.start_pool, plan.on_rows)
        index.num_generated += made.num_rows
        index.nodes |= made.nodes
        index.num_rounds += is_open
        if round_index < samples.retry_rounds:
            is_open &= ~_solved(index, questions, is_open, is_solved)
        if not is_open.any():
            break
    return index


def _batches(
    index: SampleIndex, questions: Artifact, is_open: np.ndarray, indices: range
) -> Iterator[list[GenerationRequest]]:
    """Yield the requests for some samples of every open question, batch by batch."""
    first = 0
    for batch in training_batches(questions):
        open_ones = itertools.compress(batch, is_open[first : first + len(batch)])
        yield list(generation_requests(open_ones, indices, index.plan.fingerprint))
        first += len(batch)


def _solved(
    index: SampleIndex,
    questions: Artifact,
    is_open: np.ndarray,
    is_solved: Callable[[Question, list[Sample]], bool],
) -> np.ndarray:
    """Return for every training question whether it was open and is solved now."""
    solved, first = np.zeros(len(is_open), bool), 0
    for batch in training_batches(questions):
        for position, (question, samples) in enumerate(
            zip(batch, index.samples(batch, first), strict=True), first
        ):
            solved[position] = bool(is_open[position]) and is_solved(question, samples)
        first += len(batch)
    return solved
