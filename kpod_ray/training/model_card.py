"""The model card of a trained student, which lists its model, data and training settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from jinja2 import Template

from kpod_ray.config import (
    FileQuestions,
    HubQuestions,
    QuestionsConfig,
    RunConfig,
)
from kpod_ray.models.custom_code import plain_name
from kpod_ray.models.names import is_hub_name, without_folders
from kpod_ray.teacher.kinds import card_line

_CARD = Template(
    """---
{{ header }}---

# {{ name }}

`{{ model }}`, trained by keypoint-based progressive chain-of-thought distillation
(KPOD, [arXiv 2405.16064](https://arxiv.org/abs/2405.16064)) with kpod_ray {{ version }}.

| | |
|---|---|
{% for key, value in rows %}| {{ key }} | {{ value }} |
{% endfor %}
Accuracy on held-out questions is in the run's report. The licences of the student, of the teacher and
of the questions apply.
"""
)


def model_card(config: RunConfig, counts: Mapping[str, int], version: str) -> str:
    """Return the model card as Markdown with a YAML header; of local files and folders only the names.

    ``counts`` holds the totals ``stages``, ``train_steps``, ``tokens`` (of prompts and targets) and
    ``loss_tokens`` (tokens in the loss) of the training. ``version`` is that of kpod_ray.
    """
    student = config.student
    header = {"library_name": "transformers", "tags": ["kpod", "chain-of-thought", "distillation"]}
    if is_hub_name(student.model):
        header["base_model"] = plain_name(student.model)
    model = without_folders(student.model)
    adapters = f", adapters of rank {student.lora.rank}, merged" if student.lora else ""
    rows = {
        "student": f"`{model}`{adapters}",
        "teacher": card_line(config.teacher),
        "questions": _questions(config.questions),
        "prompt": student.template,
        "writes": "the rationale, then the answer"
        if student.target == "rationale"
        else "the answer",
        "token weights": _token_weights(config),
        "loss": student.loss,
        "stages": counts["stages"],
        "train steps": f"{counts['train_steps']:,} of {student.global_batch_size} examples",
        "tokens": f"{counts['tokens']:,}, {counts['loss_tokens']:,} of them in the loss",
        "learning rate": f"{student.learning_rate:g}, {student.learning_rate_schedule}",
        "precision": student.precision,
        "seed": config.training_seed,
    }
    return _CARD.render(
        header=yaml.safe_dump(header, sort_keys=False),
        name=config.name,
        model=model,
        version=version,
        rows=rows.items(),
    )


def _token_weights(config: RunConfig) -> str:
    """Return the kind of token weights in the student's loss."""
    if config.weighting is None or config.student.token_weights == "uniform":
        return "uniform"
    return config.weighting.kind


def _questions(questions: QuestionsConfig) -> str:
    """Return the source of the questions, without the folders of a local file."""
    if isinstance(questions, HubQuestions):
        return f"`{questions.dataset}`"
    if isinstance(questions, FileQuestions):
        return f"`{Path(questions.path).name}`"
    return "made-up arithmetic questions"
