"""Sample a generating teacher in rounds; only samples that don't exist yet are generated.

The first round samples every training question; each retry round samples the questions that have no
correct sample yet. The completions are stored outside the folders of the runs, in a folder that is named
by the fingerprint of the teacher and its sampling settings: all runs with this fingerprint share them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from kpod_ray.config import GeneratingTeacher
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.missing import OnRows, StartPool, generate_missing
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.inference.requests import generation_requests
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.teacher.fingerprints import completions_folder
from kpod_ray.teacher.samples import Sample, sample_of_completion

BATCH_ROWS = 2048
"""Rows of the questions' table that are in memory at the same time."""


@dataclasses.dataclass(frozen=True)
class SamplingPlan:
    """How the samples of a teacher are generated, and where the completions are stored."""

    teacher: GeneratingTeacher
    fingerprint: str
    """Fingerprint of the teacher and its sampling settings; names the folder of the completions."""
    start_pool: StartPool
    """Returns the pool of services for a round, for the number of missing completions and the characters
    of their questions; called at most once a round, only if a completion of the round is missing."""
    artifact: Artifact
    """Artifact of phase ``teacher``; its folder holds the requests during generation."""
    on_rows: OnRows
    """Called with the number of samples of a round that exist, and the number the round asks for."""

    @property
    def folder(self) -> str:
        """Folder of the completions, relative to the store's root."""
        return completions_folder(self.fingerprint)


@dataclasses.dataclass
class SampleIndex:
    """The samples of all training questions, looked up in the stored completions."""

    plan: SamplingPlan
    completions: CompletionIndex
    num_rounds: np.ndarray
    """Number of rounds in which each training question was sampled, in the order of the questions."""
    num_generated: int = 0
    """Number of samples, error rows included, that the call of `ask` which returned this index
    generated."""
    nodes: set[str] = dataclasses.field(default_factory=set)
    """Ray ids of the nodes on which that call generated samples."""

    def samples(self, questions: list[Question], first: int) -> list[list[Sample]]:
        """Return the samples of each question of a batch, in the order of the sample indices.

        A question has ``samples.per_question`` samples for each round in which it was sampled; a sample
        that couldn't be generated has the finish reason ``error``. Each call reads the completions from
        their files.

        ``questions`` are consecutive training questions of the artifact given to `ask`; ``first`` is the
        position, from 0, of the first of these questions among all training questions.

        Raises:
            KeyError: A completion doesn't exist.
        """
        # The ids of completions are computed again from their content, so that no table of ids is kept.
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
    """Yield the training questions of an artifact of phase ``questions`` in order, batch by batch.

    A batch holds the training questions among `BATCH_ROWS` rows of the table, and may be empty.

    Raises:
        KpodError: The table ``questions`` can't be read; raised when the iteration starts.
    """
    for table in questions.batches("questions", BATCH_ROWS):
        yield [q for q in Question.from_table(table) if q.split == "train"]


def ask(
    plan: SamplingPlan, questions: Artifact, is_solved: Callable[[Question, list[Sample]], bool]
) -> SampleIndex:
    """Generate all samples that the settings ask for and that don't exist yet, or exist as error rows.

    Every training question is sampled in the first round. Each of at most ``samples.retry_rounds``
    further rounds samples the questions that aren't solved; no round follows once all are solved. Ray is
    used, and must be connected, only if a sample is missing. After an error, the finished completions
    stay, and a later call generates only the others.

    ``questions`` is the finished artifact of phase ``questions``. ``is_solved`` takes a question and all
    its samples so far, and returns whether the question needs no further round. The function is called
    between rounds, for the questions that weren't solved before; its exceptions pass on.

    Returns:
        The samples of all training questions, existing and new.

    Raises:
        KpodError: ``plan.start_pool`` raises it, an engine dies repeatedly, an endpoint refuses every
            request, the completions can't be written, or the folder of temporary files is too small for
            the index.
        ray.exceptions.RayError: As in `generate_missing`.
        KpodError: The table of the questions can't be read.
        OSError: The storage fails.
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
        new = generate_missing(batches, completions, plan.artifact, plan.start_pool, plan.on_rows)
        index.num_generated += new.num_rows
        index.nodes |= new.nodes
        index.num_rounds += is_open
        if round_index < samples.retry_rounds:
            is_open &= ~_solved(index, questions, is_open, is_solved)
        if not is_open.any():
            break
    return index


def _batches(
    index: SampleIndex, questions: Artifact, is_open: np.ndarray, indices: range
) -> Iterator[list[GenerationRequest]]:
    """Yield the requests of all unsolved questions for the given sample indices, in batches."""
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
    """Return for every training question whether the question was unsolved before and is solved now."""
    solved = np.zeros(len(is_open), bool)
    first = 0
    for batch in training_batches(questions):
        for position, (question, samples) in enumerate(
            zip(batch, index.samples(batch, first), strict=True), first
        ):
            solved[position] = bool(is_open[position]) and is_solved(question, samples)
        first += len(batch)
    return solved
