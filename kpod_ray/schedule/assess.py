"""Phase ``assess``: difficulty of every reasoning step under the undistilled student (Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from kpod_ray.algorithm.step_difficulty import step_difficulties
from kpod_ray.cluster.actor_pool import ActorPool, discard_stream, stream_rows
from kpod_ray.cluster.placement import described
from kpod_ray.config import RunConfig, StudentConfig
from kpod_ray.data.examples import Example, build_example, cut_example
from kpod_ray.data.sampler import batches_by_tokens
from kpod_ray.errors import KpodError
from kpod_ray.models.sources import MODEL_CACHE, model_folder
from kpod_ray.models.student import Student, load_student, load_tokenizer, pad_id
from kpod_ray.records import Question, StepDifficulty, WeightedRationale
from kpod_ray.storage.artifacts import Artifact, Manifest

MEASURES = ("step_difficulties", "uniform_step_difficulties")
BATCH_SIZE = 32
"""Rationales that an actor gets at once."""
BATCH_TOKENS = 8192
"""Most tokens of one forward pass, padding counted: memory doesn't grow with the rationales."""


class Assessor:
    """Builds the examples of a batch and measures their steps with a student."""

    def __init__(self, config: StudentConfig) -> None:
        folder = model_folder(config.model, MODEL_CACHE)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = load_tokenizer(folder)
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.student = load_student(folder, dtype).eval().to(self.device)
        self.config = config

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return examples and difficulties; too long an example has no difficulties."""
        questions = Question.from_table(batch)
        rationales = WeightedRationale.from_table(batch)
        examples = [
            build_example(self.tokenizer, question, rationale, self.config.template)
            for question, rationale in zip(questions, rationales, strict=True)
        ]
        shortened = [self._shortened(example) for example in examples]
        fitting = [example for example in shortened if example is not None]
        pad = pad_id(self.tokenizer)
        measured = dict(measure_steps(self.student, fitting, pad, BATCH_TOKENS))
        pairs = list(zip(examples, shortened, strict=True))
        table = Example.to_table(short or example for example, short in pairs)
        is_cut = [short not in (None, example) for example, short in pairs]
        table = table.append_column("is_cut", pa.array(is_cut))
        for name in MEASURES:
            values = [getattr(measured.get(e.question_id), name, []) for e in examples]
            column = pa.array(values, StepDifficulty.schema.field(name).type)
            table = table.append_column(name, column)
        return table

    def _shortened(self, example: Example) -> Example | None:
        """Return an example that fits, None when it is to be set aside."""
        max_length = self.config.max_length
        if example.num_tokens() <= max_length:
            return example
        return cut_example(example, max_length) if self.config.overlength == "cut" else None


def assess_difficulty(
    config: RunConfig, questions: Artifact, weigh: Artifact, artifact: Artifact
) -> Manifest:
    """Write ``difficulties`` and ``examples`` for every rationale that fits the student.

    Raises:
        KpodError: None fits.
    """
    requests = _requests(questions, weigh)
    pool = ActorPool(
        actor=Assessor,
        arguments={"config": config.student},
        resources=config.resources.assess,
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",
    )
    result = stream_rows(artifact, "assessed", requests, pool, "question_id")
    lengths: Any = result.table["step_difficulties"].combine_chunks().value_lengths()
    fits = np.asarray(lengths) > 0
    if not fits.any():
        max_length = config.student.max_length
        raise KpodError(f"no example fits student.max_length={max_length} tokens; raise it")
    table = result.table.filter(pa.array(fits))
    artifact.write("examples", table.select(Example.schema.names).cast(Example.schema))
    names = StepDifficulty.schema.names
    artifact.write("difficulties", table.select(names).cast(StepDifficulty.schema))
    discard_stream(artifact, "assessed")
    counts = {
        "rationales": requests.num_rows,
        "assessed": table.num_rows,
        "overlength": requests.num_rows - table.num_rows,
        "cut": pc.sum(table["is_cut"]).as_py(),
        "resumed": result.num_resumed,
    }
    return {"counts": counts, "nodes": described(result.nodes)}


def _requests(questions: Artifact, weigh: Artifact) -> pa.Table:
    """Join the weighted rationales with their questions."""
    by_id = {q.id: q for q in Question.from_table(questions.read("questions"))}
    weighted = weigh.read("weighted")
    joined = Question.to_table(by_id[i] for i in weighted["question_id"].to_pylist())
    for name in weighted.schema.names:
        joined = joined.append_column(weighted.schema.field(name), weighted[name])
    return joined


@torch.no_grad()
def measure_steps(
    student: Student, examples: Sequence[Example], pad_id: int, max_tokens: int
) -> Iterator[tuple[str, StepDifficulty]]:
    """Yield every example's question id and difficulties (Eq. 8), whole rationales at a time.

    Args:
        student: the student before any distillation.
        examples: of any length.
        pad_id: what batches are padded with.
        max_tokens: of one forward pass, padding counted; a longer example is a pass of its own.
    """
    device = next(student.parameters()).device
    for rows in batches_by_tokens([example.num_tokens() for example in examples], max_tokens):
        chosen = [examples[i] for i in rows]
        batch = student.collate(chosen, [0] * len(chosen), pad_id)
        token_nll = student(batch.to(device)).token_nll.cpu()
        lengths = [len(example.target_ids) for example in chosen]
        for example, nll in zip(chosen, token_nll.split(lengths), strict=True):
            yield example.question_id, _difficulties(example, nll)


def _difficulties(example: Example, token_nll: torch.Tensor) -> StepDifficulty:
    steps, weights = torch.tensor(example.token_steps), torch.tensor(example.token_weights)
    inside = steps < example.num_steps

    def of_steps(weights: torch.Tensor) -> list[float]:
        """Return the difficulty of every step under these token weights."""
        losses = token_nll[inside], weights[inside], steps[inside]
        return step_difficulties(*losses, example.num_steps).tolist()

    return StepDifficulty(example.question_id, of_steps(weights), of_steps(weights * 0))
