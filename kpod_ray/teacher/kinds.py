"""Everything that depends on the kind of teacher, one function for each question about a teacher.

A new kind of teacher is a settings class in `kpod_ray.config.teacher` and a case in these functions;
mypy names each ``match`` that lacks the case. All other modules treat the kinds alike.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from pathlib import Path

from pydantic import SecretStr

from kpod_ray.cluster.placement import described
from kpod_ray.config import (
    ActorResources,
    EndpointTeacher,
    FileTeacher,
    ReferenceTeacher,
    RunConfig,
    TeacherConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import (
    PromptAffixes,
    PromptBuilder,
    Shot,
    question_text,
    worked_examples,
)
from kpod_ray.errors import KpodError
from kpod_ray.inference import costs
from kpod_ray.inference.missing import OnRows
from kpod_ray.inference.openai_client import Endpoint
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.vllm_engine import vllm_pool
from kpod_ray.models.sources import check_decoder, check_model, model_hash, without_folders
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.user_files import file_hash
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.fingerprints import generation_fingerprint
from kpod_ray.teacher.samples import Corpus, Sample, corpus_of, read_samples
from kpod_ray.teacher.sampling import SamplingPlan, ask, training_batches


def check(teacher: TeacherConfig) -> None:
    """Check what a teacher needs before a run starts; no model is loaded, no endpoint is called.

    Whether an endpoint answers is checked when the first request is about to be sent to the endpoint:
    a run whose samples are all there needs no endpoint.

    Raises:
        KpodError: The model isn't there, or isn't one that writes text by itself.
    """
    match teacher:
        case VllmTeacher():
            check_model(teacher.model)
            check_decoder(teacher.model)
        case EndpointTeacher() | FileTeacher() | ReferenceTeacher():
            pass


def content_hash(teacher: TeacherConfig) -> str:
    """Return a hash of the files that determine the rationales; empty where there are no files.

    Raises:
        KpodError: A file isn't there.
    """
    match teacher:
        case VllmTeacher():
            return model_hash(teacher.model)
        case FileTeacher():
            return file_hash(teacher.path)
        case EndpointTeacher() | ReferenceTeacher():
            return ""


def name_of(teacher: TeacherConfig) -> str:
    """Return the name of a teacher that stands beside its rationales."""
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            return teacher.model
        case FileTeacher():
            return teacher.name or Path(teacher.path).stem
        case ReferenceTeacher():
            return teacher.kind


def card_line(teacher: TeacherConfig) -> str:
    """Return how a model card names a teacher, in Markdown and without folders of the machine."""
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            return f"`{without_folders(teacher.model)}`"
        case FileTeacher():
            return f"`{name_of(teacher)}`"
        case ReferenceTeacher():
            return "the questions' own rationales"


def estimated_cost(config: RunConfig) -> costs.CostEstimate | None:
    """Estimate the cost of the first round of samples, were none there yet.

    Returns:
        The estimate; None for a teacher that costs nothing.

    Raises:
        KpodError: The questions can't be read, or too few of them are worked examples.
    """
    teacher = config.teacher
    if not isinstance(teacher, EndpointTeacher):
        return None
    loaded = load_questions(config.questions, config.seed).questions
    asked = [question for question in loaded if question.split == "train"]
    per_question = teacher.samples.per_question
    num_chars = per_question * sum(len(question_text(question)) for question in asked)
    shots = worked_examples(asked, teacher.num_shots)
    return costs.estimate(teacher, shots, per_question * len(asked), num_chars)


def cost(teacher: TeacherConfig, num_prompt_tokens: int, num_tokens: int) -> float | None:
    """Return the cost of the tokens of all samples; None for a teacher that costs nothing."""
    if not isinstance(teacher, EndpointTeacher):
        return None
    return costs.cost(num_prompt_tokens, num_tokens, teacher.price)


def corpus(config: RunConfig, questions: Artifact, artifact: Artifact, on_rows: OnRows) -> Corpus:
    """Return all samples of a run's teacher; what must be generated for them is generated.

    Args:
        config: the run.
        questions: holds the training questions.
        artifact: of phase ``teacher``; requests under way are kept in its folder.
        on_rows: is told how many samples of a round are there, and how many are to be.

    Raises:
        KpodError: The teacher can't be used.
    """
    teacher = config.teacher
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            plan = sampling_plan(config, teacher, questions, artifact, on_rows)
            return _generated(config, plan, questions)
        case FileTeacher():
            return corpus_of(name_of(teacher), read_samples(teacher))
        case ReferenceTeacher():  # the reference rationales come with the questions
            return corpus_of(name_of(teacher), [])


def _generated(config: RunConfig, plan: SamplingPlan, questions: Artifact) -> Corpus:
    name = name_of(config.teacher)

    def is_solved(question: Question, samples: list[Sample]) -> bool:
        """Whether a sample of the question goes on."""
        split = config.steps.split_newlines
        result = filter_samples(question, samples, config.teacher, name, split_newlines=split)
        return any(row.verdict == "kept" for row in result.rows)

    index = ask(plan, questions, is_solved)
    details: Manifest = {
        "completions": plan.folder,
        "nodes": described(index.nodes),
        "counts": {"generated": index.num_generated, "rounds": int(index.num_rounds.max())},
    }
    return Corpus(name, index.samples, details=details)


def sampling_plan(
    config: RunConfig,
    teacher: VllmTeacher | EndpointTeacher,
    questions: Artifact,
    artifact: Artifact,
    on_rows: OnRows,
) -> SamplingPlan:
    """Return what generates the samples of a teacher, and where the completions are kept.

    Raises:
        KpodError: There are too few worked examples.
    """
    in_order = itertools.chain.from_iterable(training_batches(questions))
    shots = worked_examples(in_order, teacher.num_shots)
    return SamplingPlan(
        teacher,
        generation_fingerprint(teacher, content_hash(teacher), shots, config.seed),
        functools.partial(_start_pool, teacher, shots, config.resources.teacher),
        artifact,
        on_rows,
    )


def _start_pool(
    teacher: VllmTeacher | EndpointTeacher,
    shots: list[Shot],
    resources: ActorResources,
    num_requests: int,
    num_question_chars: int,
) -> ServicePool:
    match teacher:
        case VllmTeacher():
            return _engines(teacher, shots, resources)
        case EndpointTeacher():
            expected = costs.estimate(teacher, shots, num_requests, num_question_chars)
            return _clients(teacher, shots, resources, expected)


def _engines(teacher: VllmTeacher, shots: list[Shot], resources: ActorResources) -> ServicePool:
    sampling = Sampling(teacher.temperature, teacher.top_p, teacher.max_new_tokens, teacher.stop)
    affixes = PromptAffixes(teacher.system_prompt, teacher.instruction)
    prompt_builder = PromptBuilder(teacher.template, tuple(shots), affixes)
    arguments = dict(teacher.engine_kwargs)
    return vllm_pool(teacher.model, prompt_builder, sampling, arguments, resources)


def _clients(
    teacher: EndpointTeacher,
    shots: list[Shot],
    resources: ActorResources,
    expected: costs.CostEstimate,
) -> ServicePool:
    """Return the pool of one client of an endpoint.

    Raises:
        KpodError: The endpoint doesn't answer or could cost too much.
    """
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
