"""Phase ``assess``: difficulty of every reasoning step under the undistilled student (Eq. 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import RunConfig
from kpod_ray.data.examples import Example, build_example
from kpod_ray.data.prompts import Template
from kpod_ray.distributed.streaming import ActorPool, discard_stream, stream_rows
from kpod_ray.errors import KpodError
from kpod_ray.models.difficulty import measure_steps
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.records import Question, StepDifficulty, WeightedRationale

MEASURES = ("step_difficulties", "uniform_step_difficulties")

BATCH_SIZE = 32
"""Rationales that an actor gets at once."""
BATCH_TOKENS = 8192
"""Most tokens of one forward pass, padding counted: memory doesn't grow with the rationales."""


class Assessor:
    """Builds the examples of a batch and measures their steps with a student."""

    def __init__(self, model: str, template: Template, max_length: int, precision: str) -> None:
        folder = model_folder(model, MODEL_CACHE)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(folder)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.student = load_student(folder, dtype).eval().to(self.device)
        self.template, self.max_length = template, max_length

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return examples and difficulties; too long an example has no difficulties."""
        questions = Question.from_table(batch)
        rationales = WeightedRationale.from_table(batch)
        examples = [
            build_example(self.tokenizer, question, rationale, self.template)
            for question, rationale in zip(questions, rationales, strict=True)
        ]
        fitting = [example for example in examples if example.num_tokens() <= self.max_length]
        pad = pad_id(self.tokenizer)
        measured = dict(measure_steps(self.student, fitting, pad, BATCH_TOKENS))
        table = Example.to_table(examples)
        for name in MEASURES:
            values = [getattr(measured.get(e.question_id), name, []) for e in examples]
            column = pa.array(values, StepDifficulty.schema.field(name).type)
            table = table.append_column(name, column)
        return table


def assess_difficulty(
    config: RunConfig, questions: Artifact, weigh: Artifact, artifact: Artifact
) -> Manifest:
    """Write ``difficulties`` and ``examples`` for every rationale that fits the student.

    Raises:
        KpodError: None fits.
    """
    requests = _requests(questions, weigh)
    student = config.student
    pool = ActorPool(
        actor=Assessor,
        arguments={
            "model": student.model,
            "template": student.template,
            "max_length": student.max_length,
            "precision": student.precision,
        },
        resources=config.resources.assess,
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",
    )
    result = stream_rows(artifact, "assessed", requests, pool, "question_id")
    lengths: Any = result.table["step_difficulties"].combine_chunks().value_lengths()
    fits = np.asarray(lengths) > 0
    if not fits.any():
        raise KpodError(f"no example fits student.max_length={student.max_length} tokens; raise it")
    table = result.table.filter(pa.array(fits))
    artifact.write("examples", table.select(Example.schema.names).cast(Example.schema))
    names = StepDifficulty.schema.names
    artifact.write("difficulties", table.select(names).cast(StepDifficulty.schema))
    discard_stream(artifact, "assessed")
    counts = {
        "rationales": requests.num_rows,
        "assessed": table.num_rows,
        "too_long": requests.num_rows - table.num_rows,
        "resumed": result.num_resumed,
    }
    return {"counts": counts}


def _requests(questions: Artifact, weigh: Artifact) -> pa.Table:
    """Join the weighted rationales with their questions."""
    by_id = {q.id: q for q in Question.from_table(questions.read("questions"))}
    weighted = weigh.read("weighted")
    joined = Question.to_table(by_id[i] for i in weighted["question_id"].to_pylist())
    for name in weighted.schema.names:
        joined = joined.append_column(weighted.schema.field(name), weighted[name])
    return joined
