"""Phase ``assess``: the difficulty of every reasoning step under the student before training (Eq. 8).

`assess_difficulty` runs the phase: a pool of `Assessor` actors tokenizes the weighted rationales and
measures their steps with `measure_steps`. Rationales that don't fit ``student.max_length`` are cut or
left out, as ``student.overlength`` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from kpod_ray.algorithm.loss import weighted_nll, with_full_logits
from kpod_ray.algorithm.step_difficulty import step_difficulties
from kpod_ray.cluster.actor_pool import ActorPool, discard_stream, stream_rows
from kpod_ray.cluster.placement import described
from kpod_ray.config import RunConfig, StudentConfig
from kpod_ray.data.examples import Example, build_example, cut_example
from kpod_ray.data.sampler import batches_by_tokens
from kpod_ray.errors import KpodError
from kpod_ray.models.device import compute_dtype, device
from kpod_ray.models.student import Student, load_student, load_tokenizer, pad_id
from kpod_ray.records import Question, StepDifficulty, WeightedRationale
from kpod_ray.storage.artifacts import Artifact, Manifest

MEASURES = ("step_difficulties", "uniform_step_difficulties")
"""Columns of `StepDifficulty` that hold one number for each reasoning step."""
BATCH_SIZE = 32
"""Rationales of one call of an actor."""
BATCH_TOKENS = 8192
"""Most tokens of one forward pass, padding included, which bounds the memory of the pass."""


class Assessor:
    """Tokenizes weighted rationales and measures the difficulty of their steps.

    `Assessor` is a plain class, which an `ActorPool` runs in actors. The student of ``config`` is
    loaded, in evaluation mode, on the GPU if the process sees one, else on the CPU. Errors of
    `load_tokenizer` and `load_student` pass through.
    """

    def __init__(self, config: StudentConfig) -> None:
        self.tokenizer = load_tokenizer(config.model)
        dtype = compute_dtype(config.precision)
        token_loss = weighted_nll if config.kernels else with_full_logits(weighted_nll)
        self.student = load_student(config.model, dtype, token_loss).eval().to(device())
        self.config = config

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the example and the step difficulties of every weighted rationale.

        ``batch`` has the columns of `Question` and of `WeightedRationale`, and unique question ids.

        Returns:
            One row for each input row, in order: the columns of `Example` (shortened to ``max_length``
            if possible), ``is_cut`` (whether the example was shortened), and the columns of `MEASURES`,
            in nats, whose lists are empty for an example that doesn't fit.

        Raises:
            KpodError: The student's template is ``chat``, and the tokenizer has no chat template.
            ValueError: A rationale has no reasoning steps, or its step starts don't ascend.
        """
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
            # An example that doesn't fit isn't in `measured`: its list is empty.
            values = [getattr(measured.get(e.question_id), name, []) for e in examples]
            column = pa.array(values, StepDifficulty.schema.field(name).type)
            table = table.append_column(name, column)
        return table

    def _shortened(self, example: Example) -> Example | None:
        """Return the example, cut to ``max_length`` if necessary; None if the example is left out."""
        max_length = self.config.max_length
        if example.num_tokens() <= max_length:
            return example
        return cut_example(example, max_length) if self.config.overlength == "cut" else None


def assess_difficulty(
    config: RunConfig, teacher: Artifact, weigh: Artifact, artifact: Artifact
) -> Manifest:
    """Run the phase on Ray, which must be connected: write the tables ``difficulties`` and ``examples``.

    Both tables have one row for each rationale that fits ``student.max_length`` (if necessary, after the
    cut of ``student.overlength=cut``), in the order of ``weighted``; existing tables are replaced.
    Rationales that an interrupted call has assessed are not assessed again.

    The table ``questions`` of ``teacher`` and the table ``weighted`` of ``weigh``, one row for each
    rationale and at least one, are read. The manifest of ``artifact``, which gets the tables, isn't
    written.

    Returns:
        The manifest entries of the phase: ``counts`` of rationales (``rationales``, all; ``assessed``,
        those in the tables; ``overlength``, those left out; ``cut``; ``resumed``, those of interrupted
        calls) and ``nodes``, the nodes that assessed them.

    Raises:
        KpodError: No rationale fits ``student.max_length``, or a difficulty isn't finite; no table is
            written.
        KeyError: ``teacher`` lacks the question of a rationale.
        KpodError: A table of ``teacher`` or ``weigh`` can't be read.
        ray.exceptions.RayError: An actor failed, or the actors didn't start in time; the cause may be an
            error of `Assessor`.
    """
    requests = _requests(teacher, weigh)
    pool = ActorPool(
        actor=Assessor,
        arguments={"config": config.student},
        resources=config.resources.assess,
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",
    )
    result = stream_rows(artifact, "assessed", requests, pool, "question_id")
    table = _fitting(result.table, config.student.max_length)
    check_difficulties(table, config.student.model)
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


def _fitting(table: pa.Table, max_length: int) -> pa.Table:
    """Return the rows of the rationales that fit; raise a `KpodError` if no rationale does."""
    lengths: Any = table["step_difficulties"].combine_chunks().value_lengths()
    fits = np.asarray(lengths) > 0
    if not fits.any():
        raise KpodError(f"no example fits student.max_length={max_length} tokens; raise it")
    return table.filter(pa.array(fits))


def check_difficulties(table: pa.Table, model: str) -> None:
    """Check that all difficulties are finite: no schedule can be planned from others.

    Args:
        table: the columns ``question_id`` and `MEASURES`.
        model: name of the student, for the message.

    Raises:
        KpodError: A difficulty is NaN or infinite; the message names the first such question.
    """
    for name in MEASURES:
        lists: Any = table[name].combine_chunks()
        is_finite = np.isfinite(lists.flatten().to_numpy())
        if not is_finite.all():
            parents = lists.value_parent_indices().to_numpy()
            question_id = table["question_id"][int(parents[~is_finite][0])].as_py()
            raise KpodError(
                f"the loss of question {question_id} under the untrained student isn't finite; check "
                f"model {model}, or set student.precision=fp32"
            )


@torch.no_grad()
def measure_steps(
    student: Student, examples: Sequence[Example], pad_id: int, max_tokens: int
) -> Iterator[tuple[str, StepDifficulty]]:
    """Measure the step difficulties of examples (Eq. 8); no step is given, the student predicts all.

    Args:
        student: The student before training, in evaluation mode, on any device.
        examples: Examples of any length, cut or whole; possibly none.
        pad_id: Token id that pads the batches.
        max_tokens: Most tokens of one forward pass, padding included; a longer example has a forward
            pass of its own.

    Yields:
        The question id and the difficulties of each example in nats, under the example's token weights
        and under uniform token weights; in ascending order of length.
    """
    device = next(student.parameters()).device
    for rows in batches_by_tokens([example.num_tokens() for example in examples], max_tokens):
        chosen = [examples[i] for i in rows]
        no_given_steps = [0] * len(chosen)
        batch = student.collate(chosen, no_given_steps, pad_id)
        token_nll = student(batch.to(device)).token_nll.cpu()
        lengths = [len(example.target_ids) for example in chosen]
        for example, nll in zip(chosen, token_nll.split(lengths), strict=True):
            yield example.question_id, _difficulties(example, nll)


def _requests(questions: Artifact, weigh: Artifact) -> pa.Table:
    """Return the weighted rationales, each row joined with its question."""
    by_id = {q.id: q for q in Question.from_table(questions.read("questions"))}
    weighted = weigh.read("weighted")
    joined = Question.to_table(by_id[i] for i in weighted["question_id"].to_pylist())
    for name in weighted.schema.names:
        joined = joined.append_column(weighted.schema.field(name), weighted[name])
    return joined


def _difficulties(example: Example, token_nll: torch.Tensor) -> StepDifficulty:
    steps = torch.tensor(example.token_steps)
    weights = torch.tensor(example.token_weights)
    in_rationale = steps < example.num_steps  # the answer segment belongs to no step

    def of_steps(weights: torch.Tensor) -> list[float]:
        """Return the difficulty of every step under these token weights."""
        losses = token_nll[in_rationale], weights[in_rationale], steps[in_rationale]
        return step_difficulties(*losses, example.num_steps).tolist()

    return StepDifficulty(example.question_id, of_steps(weights), of_steps(weights * 0))
