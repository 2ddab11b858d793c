"""Phase ``teacher``: get a rationale for every training question, and judge it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa

from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import FileTeacher, RunConfig, VllmTeacher
from kpod_ray.data.prompts import worked_examples
from kpod_ray.data.rationales import (
    Sample,
    generation_requests,
    judge,
    read_samples,
    sample_of_completion,
)
from kpod_ray.distributed.engine import Sampling, engine_pool
from kpod_ray.distributed.streaming import discard_stream, stream_rows
from kpod_ray.errors import KpodError
from kpod_ray.records import Completion, GenerationRequest, Question, Rationale

USED = ("kept", "reference")


def generate_rationales(config: RunConfig, questions: Artifact, artifact: Artifact) -> Manifest:
    """Write ``rationales`` (one for each question that has one) and ``rejects`` (all others).

    Raises:
        KpodError: No rationale is left.
    """
    rows = Question.from_table(questions.read("questions"))
    training = [question for question in rows if question.split == "train"]
    teacher = config.teacher
    if isinstance(teacher, VllmTeacher):
        samples, num_resumed = _generate(config, teacher, training, artifact)
        name = teacher.model
    elif isinstance(teacher, FileTeacher):
        samples, num_resumed = read_samples(teacher), 0
        name = teacher.name or Path(teacher.path).stem
    else:
        samples, num_resumed, name = [], 0, teacher.kind
    judged = judge(samples, {question.id: question for question in training}, teacher, name)
    used = [row for row in judged if row.verdict in USED]
    verdicts = Counter(row.verdict for row in judged)
    if not used:
        raise KpodError(
            f"no rationale is left to train on: {dict(verdicts)}; use a stronger teacher, more "
            "samples, or teacher.missing=reference where the questions carry their own rationales"
        )
    artifact.write("rationales", Rationale.to_table(used))
    artifact.write("rejects", Rationale.to_table(r for r in judged if r.verdict not in USED))
    discard_stream(artifact, "completions")
    counts = {
        "questions": len(training),
        "samples": len(samples),
        "tokens": sum(sample.num_tokens for sample in samples),
        "resumed": num_resumed,
        "questions_without_rationale": len(training) - len(used),
    }
    return {"teacher": name, "counts": counts, "verdicts": dict(sorted(verdicts.items()))}


def _generate(
    config: RunConfig, teacher: VllmTeacher, training: list[Question], artifact: Artifact
) -> tuple[list[Sample], int]:
    shots = worked_examples(training, teacher.num_shots)
    if teacher.num_shots and len(shots) <= teacher.num_shots:
        raise KpodError(
            f"teacher.num_shots={teacher.num_shots}: only {len(shots)} training questions carry a "
            "reference rationale, and one more than the number of shots is needed"
        )
    requests = generation_requests(training, teacher.num_samples, config.seed)
    pool = engine_pool(
        teacher.model,
        teacher.template,
        shots,
        Sampling(teacher.temperature, teacher.top_p, teacher.max_new_tokens),
        dict(teacher.engine),
        config.resources.teacher,
    )
    table: pa.Table = GenerationRequest.to_table(requests)
    result = stream_rows(artifact, "completions", table, pool, "id")
    completions = Completion.from_table(result.table)
    return [sample_of_completion(row) for row in completions], result.num_resumed
