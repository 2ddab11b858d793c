"""What depends on the kind of teacher before a run starts: checks, hashes, names and costs.

A new kind of teacher is a settings class in `kpod_ray.config.teacher`, a case in these functions and
one in `kpod_ray.teacher.phase.teacher_samples`; a kind that generates also has a case in
`kpod_ray.teacher.pools`. mypy names each ``match`` that lacks the case. All other modules treat the
kinds alike. This module loads no Ray and no torch, so that commands that only name a run start fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kpod_ray.config import (
    EndpointTeacher,
    FileTeacher,
    GeneratingTeacher,
    ReferenceTeacher,
    TeacherConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import PromptAffixes, PromptBuilder, Shot
from kpod_ray.inference.endpoint import costs
from kpod_ray.inference.endpoint.key import endpoint_key
from kpod_ray.inference.records import GenerationRequest
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.names import without_folders
from kpod_ray.models.sources import model_hash
from kpod_ray.storage.user_files import file_hash


def check(teacher: TeacherConfig) -> None:
    """Check the model of a vLLM teacher, or that an endpoint may get its key; check no other kinds.

    An endpoint isn't asked before the first request, because a run whose samples all exist needs no
    endpoint. A file of rationales is checked by `content_hash`.

    Raises:
        KpodError: As in `check_model`, where the model must be decoder-only and generate text, or as in
            `endpoint_key`.
    """
    match teacher:
        case VllmTeacher():
            check_model(teacher.model, ModelUse("teacher", teacher.template))
        case EndpointTeacher():
            endpoint_key(teacher)
        case FileTeacher() | ReferenceTeacher():
            pass


def content_hash(teacher: TeacherConfig) -> str:
    """Return a hash of the local files that determine the rationales, in hexadecimal.

    Returns:
        `model_hash` of a vLLM teacher's local model folder, or the SHA-256 of a user's file; empty for a
        model that isn't a local folder, an endpoint, and the reference rationales.

    Raises:
        KpodError: The local model folder doesn't exist or has no ``config.json``, or the user's file
            doesn't exist, is a folder or can't be read.
    """
    match teacher:
        case VllmTeacher():
            return model_hash(teacher.model)
        case FileTeacher():
            return file_hash(teacher.path)
        case EndpointTeacher() | ReferenceTeacher():
            return ""


def name_of(teacher: TeacherConfig) -> str:
    """Return the name of a teacher, as written into the column ``teacher`` of the rationales.

    The name is ``teacher.model``, with its folders; for a file ``teacher.name``, or if that is None or
    empty, the name of the file without folder and ending; ``reference`` for the reference rationales.
    """
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            return teacher.model
        case FileTeacher():
            return teacher.name or Path(teacher.path).stem
        case ReferenceTeacher():
            return teacher.kind


def card_line(teacher: TeacherConfig) -> str:
    """Return the teacher's name for a model card, as Markdown without a line break.

    The name of a model (of a model folder only the last part) or of a file (`name_of`) is returned in
    backquotes; for the reference rationales, the words ``the questions' own rationales``.
    """
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            return f"`{without_folders(teacher.model)}`"
        case FileTeacher():
            return f"`{name_of(teacher)}`"
        case ReferenceTeacher():
            return "the questions' own rationales"


def estimated_cost(
    teacher: TeacherConfig, shots: Sequence[Shot], requests: Sequence[GenerationRequest]
) -> costs.CostEstimate | None:
    """Estimate the cost of requests, each sent once; None for a teacher other than an endpoint.

    The endpoint isn't called. ``shots`` is the result of `worked_examples`.
    """
    if not isinstance(teacher, EndpointTeacher):
        return None
    num_chars = sum(len(request.text) for request in requests)
    return costs.estimate(teacher, shots, len(requests), num_chars)


def prompt_builder(teacher: GeneratingTeacher, shots: Sequence[Shot]) -> PromptBuilder:
    """Return the builder of a teacher's prompts; ``shots`` is the result of `worked_examples`."""
    affixes = PromptAffixes(teacher.system_prompt, teacher.instruction)
    return PromptBuilder(teacher.template, tuple(shots), affixes)


def cost(teacher: TeacherConfig, num_prompt_tokens: int, num_tokens: int) -> float | None:
    """Return the cost of samples, in the currency of ``teacher.price``; None for a kind without prices.

    Only an endpoint has prices; a price that isn't set is 0. ``num_prompt_tokens`` counts the tokens of
    a prompt once for each sample, ``num_tokens`` the generated tokens of all samples.
    """
    if not isinstance(teacher, EndpointTeacher):
        return None
    return costs.cost(num_prompt_tokens, num_tokens, teacher.price)
