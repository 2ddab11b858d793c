"""Ask a generating teacher for samples, round after round, and only for those that aren't there.

Completions lie in a folder of their own, named by what determines them: the teacher and its sampling
settings. Whatever run asks for the same samples, now or later, finds them there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
from pydantic import SecretStr

from kpod_ray.config import EndpointTeacher, GeneratingTeacher, RunConfig, VllmTeacher
from kpod_ray.data.prompts import PromptAffixes, PromptBuilder, Shot, worked_examples
from kpod_ray.errors import KpodError
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.costs import estimate
from kpod_ray.inference.generate import OnRows, generate
from kpod_ray.inference.openai_client import Endpoint
from kpod_ray.inference.requests import Pending, generation_fingerprint, generation_requests
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.vllm_engine import vllm_pool
from kpod_ray.models.sources import model_hash
from kpod_ray.records import Question
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
    start_pool: Callable[[int, int], ServicePool]
    """Makes the pool of services, only when something is missing; gets the number of requests and the
    characters of their questions."""
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
        _ask_round(index, questions, is_open, indices)
        index.num_rounds += is_open
        if round_index < samples.retry_rounds:
            is_open &= ~_solved(index, questions, is_open, is_solved)
        if not is_open.any():
            break
    return index


def _ask_round(
    index: SampleIndex, questions: Artifact, is_open: np.ndarray, indices: range
) -> None:
    """Generate some samples of every open question, where they aren't there."""
    plan = index.plan
    pending = _missing(index, questions, is_open, indices)
    if not pending.num_rows:
        return
    pool = plan.start_pool(pending.num_rows, pending.num_chars)
    done = 0

    def count(num_rows: int) -> None:
        """Tell how many rows of the round are finished."""
        nonlocal done
        done += num_rows
        plan.on_rows(done, pending.num_rows)

    index.nodes |= generate(pending, plan.folder, pool, count)
    pending.discard()
    index.completions.refresh()
    index.num_generated += pending.num_rows


def _missing(
    index: SampleIndex, questions: Artifact, is_open: np.ndarray, indices: range
) -> Pending:
    """Return the requests of a round that no completion answers."""
    pending, first = Pending(index.plan.artifact), 0
    for batch in training_batches(questions):
        open_ones = itertools.compress(batch, is_open[first : first + len(batch)])
        requests = list(generation_requests(open_ones, indices, index.plan.fingerprint))
        is_there = index.completions.has([request.id for request in requests])
        pending.add(list(itertools.compress(requests, ~is_there)))
        first += len(batch)
    return pending


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


def sampling_plan(
    config: RunConfig,
    teacher: GeneratingTeacher,
    questions: Artifact,
    artifact: Artifact,
    on_rows: OnRows,
) -> SamplingPlan:
    """Return whom to ask, and where the answers are kept.

    Raises:
        KpodError: There are too few worked examples.
    """
    shots = _shots(teacher, questions)
    known = model_hash(teacher.model) if isinstance(teacher, VllmTeacher) else ""
    return SamplingPlan(
        teacher,
        generation_fingerprint(teacher, known, shots, config.seed),
        functools.partial(_pool, config, teacher, shots),
        artifact,
        on_rows,
    )


def _shots(teacher: GeneratingTeacher, questions: Artifact) -> list[Shot]:
    in_order = itertools.chain.from_iterable(training_batches(questions))
    return worked_examples(in_order, teacher.num_shots)


def _pool(
    config: RunConfig,
    teacher: GeneratingTeacher,
    shots: list[Shot],
    num_requests: int,
    num_question_chars: int,
) -> ServicePool:
    """Return the pool that answers so many requests.

    Raises:
        KpodError: The endpoint doesn't answer or could cost too much.
    """
    resources = config.resources.teacher
    if isinstance(teacher, EndpointTeacher):
        expected = estimate(teacher, shots, num_requests, num_question_chars)
        if teacher.max_cost is not None and expected.largest > teacher.max_cost:
            raise KpodError(
                f"teacher.max_cost={teacher.max_cost:g}: {expected}; ask for fewer or shorter "
                "samples, or raise it"
            )
        key = SecretStr(os.environ.get(teacher.api_key_env, ""))
        start = functools.partial(Endpoint, teacher, shots, key)
        asyncio.run(start().check())
        alone = resources.model_copy(update={"num_actors": 1, "max_actors": None})
        return ServicePool(start, alone, 2 * teacher.max_concurrent)
    assert isinstance(teacher, VllmTeacher)
    sampling = Sampling(teacher.temperature, teacher.top_p, teacher.max_new_tokens, teacher.stop)
    affixes = PromptAffixes(teacher.system_prompt, teacher.instruction)
    prompt_builder = PromptBuilder(teacher.template, tuple(shots), affixes)
    return vllm_pool(
        teacher.model, prompt_builder, sampling, dict(teacher.engine_kwargs), resources
    )
