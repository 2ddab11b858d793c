"""Everything that depends on the kind of teacher, one function for each question about a teacher.

A new kind of teacher is a settings class in `kpod_ray.config.teacher` and a case in these functions;
mypy names each ``match`` that lacks the case. All other modules treat the kinds alike.
"""

from __future__ import annotations

from pathlib import Path

from kpod_ray.config import (
    EndpointTeacher,
    FileTeacher,
    ReferenceTeacher,
    RunConfig,
    TeacherConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import (
    question_text,
    worked_examples,
)
from kpod_ray.inference import costs
from kpod_ray.models.sources import check_decoder, check_model, model_hash, without_folders
from kpod_ray.questions.loading import load_questions
from kpod_ray.storage.user_files import file_hash


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
