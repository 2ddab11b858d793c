"""What a config needs and this machine or its cluster lacks: the second part of ``kpod doctor``."""

from __future__ import annotations

from collections.abc import Callable

from kpod_ray.cli.doctor import Finding
from kpod_ray.cluster.capacity import lack, nodes_of_cluster, phases_of, spelt
from kpod_ray.cluster.connection import joined
from kpod_ray.config import EndpointTeacher, RunConfig
from kpod_ray.data.prompts import question_text, worked_examples
from kpod_ray.errors import KpodError
from kpod_ray.inference.costs import estimate
from kpod_ray.pipeline.naming import PHASES, open_run
from kpod_ray.questions.loading import load_questions


def needs_of(config: RunConfig) -> list[Finding]:
    """Return what a config needs: files, models, storage, money, nodes with room for every phase."""
    findings = [_tried("config", lambda: _opened(config))]
    teacher = config.teacher
    if isinstance(teacher, EndpointTeacher):
        findings.append(_tried("teacher's costs", lambda: _costs(config, teacher)))
    return findings + _room(config)


def _tried(subject: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, attempt())
    except KpodError as error:
        return Finding(subject, str(error), False)


def _opened(config: RunConfig) -> str:
    open_run(config)
    return "files, models and storage are there"


def _costs(config: RunConfig, teacher: EndpointTeacher) -> str:
    """Return what one round costs if no sample is there yet."""
    loaded = load_questions(config.questions, config.seed).questions
    asked = [question for question in loaded if question.split == "train"]
    per_question = teacher.samples.per_question
    num_chars = per_question * sum(len(question_text(question)) for question in asked)
    shots = worked_examples(asked, teacher.num_shots)
    return f"{estimate(teacher, shots, per_question * len(asked), num_chars)}, if none is there yet"


def _room(config: RunConfig) -> list[Finding]:
    """Compare every phase with the cluster that a run would join, or start on this machine."""
    try:
        with joined(config.resources):
            nodes = nodes_of_cluster()
    except KpodError as error:
        return [Finding("cluster", str(error), False)]
    size = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    grows = ", grows on demand" if config.resources.autoscaling else ""
    findings = [Finding("cluster", size + grows)]
    for phase in phases_of(config, PHASES):
        request = getattr(config.resources, phase)
        told = lack(phase, request, nodes)
        is_good = told is None or config.resources.autoscaling
        text = f"{spelt(request)}; {told}" if told else spelt(request)
        findings.append(Finding(f"resources.{phase}", text, is_good))
    return findings
