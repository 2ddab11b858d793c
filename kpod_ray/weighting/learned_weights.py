"""Learned token weights: train the token weighter, then apply it to every rationale.

Ray Train trains the weighter (`kpod_ray.weighting.worker`), and a pool of `Annotator` actors applies the
weighter. Both resume: the training from its checkpoint, the pool from the rows already stored.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kpod_ray.algorithm.rank_weights import rank_weights
from kpod_ray.algorithm.steps import split_steps
from kpod_ray.cluster.actor_pool import ActorPool, discard_stream, stream_rows
from kpod_ray.cluster.metrics_board import Watcher, watched
from kpod_ray.cluster.placement import described, threads_of
from kpod_ray.cluster.torch_trainer import fit
from kpod_ray.config import LearnedWeighting, RunConfig
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.errors import KpodError
from kpod_ray.models.device import device
from kpod_ray.models.safetensors_state import fetch_module
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.records import Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Artifact, Manifest, Store
from kpod_ray.weighting.entry import weighting_worker
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import build_weighter

BATCH_SIZE = 32
"""Rationales that an `Annotator` gets in one call."""


class Annotator:
    """Weighs the tokens of rationales with a trained weighter and splits the rationales into steps.

    `Annotator` is a plain class, which an `ActorPool` runs in actors. The weighter computes on the GPU
    if the process sees one, else on the CPU. The student's model may be downloaded first.

    Args:
        model: name of the student's model.
        num_heads: attention heads of the weighter, as in its training; None takes the student's number.
        split_newlines: whether newlines end reasoning steps.
        storage: address of the store.
        weighter: path of the weighter's ``.safetensors`` file relative to the store's root.

    Raises:
        KpodError, OSError, ValueError: As in `load_tokenizer`, `load_student` and `build_weighter`; or
            the store or the file of the weighter can't be opened.
        RuntimeError: The file holds parameters of other names or shapes than this weighter has.
    """

    def __init__(
        self, model: str, num_heads: int | None, split_newlines: bool, storage: str, weighter: str
    ) -> None:
        self.device = device()
        self.tokenizer = load_tokenizer(model)
        self.split_newlines = split_newlines
        self.weighter = build_weighter(load_student(model, torch.float32).language_model, num_heads)
        fetch_module(self.weighter, Store.open(storage), weighter)
        self.weighter.eval().to(self.device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the `WeightedRationale` rows of a table of `Rationale` rows, in order.

        The spans are the student's tokens, without the white space before each token; the weights are in
        [0, 1]. No text may be empty, and none is truncated.

        Raises:
            KpodError: A weight isn't finite.
        """
        rows = Rationale.from_table(batch)
        return WeightedRationale.to_table(self._weigh(row) for row in rows)

    @torch.no_grad()
    def _weigh(self, row: Rationale) -> WeightedRationale:
        ids, starts, ends = encode_with_spans(self.tokenizer, row.text)
        tokens = torch.tensor([ids], device=self.device)
        logits = self.weighter(tokens, torch.ones_like(tokens, dtype=torch.bool))
        if not bool(logits.isfinite().all()):
            raise KpodError(
                f"the token weights of question {row.question_id} aren't finite; lower "
                "weighting.learning_rate"
            )
        steps = split_steps(row.text, split_newlines=self.split_newlines)
        return WeightedRationale(
            question_id=row.question_id,
            text=row.text,
            token_starts=starts.tolist(),
            token_ends=ends.tolist(),
            token_weights=torch.sigmoid(logits[0]).tolist(),
            step_starts=[start for start, _ in steps],
            step_ends=[end for _, end in steps],
        )


def learn_token_weights(
    config: RunConfig,
    weighting: LearnedWeighting,
    teacher: Artifact,
    artifact: Artifact,
    watch: Watcher,
) -> Manifest:
    """Train the weighter and weigh all rationales of the artifact ``teacher``, with Ray connected.

    The artifact gets the table ``weighted``, one row for each rationale in the order of the table
    ``rationales`` (with weights by rank unless ``weighting.floor`` is None), ``weighter.safetensors``,
    and ``history.json``, the metrics of all validations. An interrupted call is continued. ``watch`` is
    called in a thread of the driver with the metrics of every train step and validation. The result
    holds the entries of the manifest, which isn't written:
    ``counts``; ``best``, the metrics of the best validation, or None if the weights were collapsed at
    all validations; ``quality`` (`WeightingValidation.quality`); ``workers``, the configured number;
    ``nodes``; and ``warning`` after a collapse at the last validation or damaged checkpoints.

    Raises:
        KpodError: There are more workers than rationales, or than ``global_batch_size``; or as the entry
            ``error`` of `train_weighter`.
        TrainingFailedError, ray.exceptions.RayError: Workers or actors failed, or didn't start in time.
    """
    workers = config.resources.weighting
    rationales = teacher.read("rationales")
    if workers.num_workers > min(weighting.global_batch_size, rationales.num_rows):
        raise KpodError(
            f"resources.weighting.num_workers={workers.num_workers} is more than the rationales of one "
            "train step; lower it or raise weighting.global_batch_size"
        )
    job = WeightingJob(
        weighting=weighting,
        model=config.student.model,
        template=config.student.template,
        seed=config.seed,
        storage=config.storage,
        questions=f"{teacher.folder}/questions.parquet",
        rationales=f"{teacher.folder}/rationales.parquet",
        folder=artifact.folder,
        num_threads=threads_of(workers),
    )
    with watched(watch) as board:
        returned = fit(weighting_worker, {"job": job, "board": board}, workers, artifact)
    result = stream_rows(
        artifact, "annotated", rationales, _pool(config, weighting, artifact), "question_id"
    )
    table = result.table.cast(WeightedRationale.schema)
    # The ranks are those of all tokens of the corpus, so the weights wait for the last rationale.
    artifact.write("weighted", table if weighting.floor is None else ranked(table, weighting.floor))
    text = json.dumps(returned["history"])
    artifact.store.write_text(f"{artifact.folder}/history.json", text)
    discard_stream(artifact, "annotated")
    artifact.store.delete(f"{artifact.folder}/fit")
    artifact.store.delete(f"{artifact.folder}/adapted.safetensors")
    warnings = [*returned["warnings"], *_collapse(returned)]
    return {
        "counts": {"rationales": result.table.num_rows, "resumed": result.num_resumed},
        "best": returned["best"],
        "quality": returned["quality"],
        "workers": workers.num_workers,
        "nodes": described(returned["nodes"] | result.nodes),
        **({"warning": "; ".join(warnings)} if warnings else {}),
    }


def ranked(table: pa.Table, floor: float) -> pa.Table:
    """Return `WeightedRationale` rows with the weights by rank among all tokens (`rank_weights`)."""
    scores = table["token_weights"].combine_chunks()
    weights = rank_weights(scores.flatten().to_numpy().astype(np.float64), floor)
    ends = np.cumsum(scores.value_lengths().to_numpy())
    offsets = pa.array([0, *ends], pa.int32())
    column = pa.ListArray.from_arrays(offsets, pa.array(weights, pa.float32()))
    name = "token_weights"
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _collapse(returned: dict[str, Any]) -> list[str]:
    """Return a list with one warning if the weights collapsed, else an empty list."""
    problem = returned["collapse"]
    best = returned["best"]
    last = returned["train_step"]
    if best is None:
        return [
            f"no weighter was sound in {last} train steps: {problem}; the token weights say little, "
            "raise weighting.num_adapt_steps, or change weighting.learning_rate or "
            "weighting.mask_ratio_weight"
        ]
    if problem is None:
        return []
    return [
        f"the weighter collapsed by train step {last}: {problem}; "
        f"the one of train step {best['train_step']:.0f} is used"
    ]


def _pool(config: RunConfig, weighting: LearnedWeighting, artifact: Artifact) -> ActorPool:
    """Return the description of the actor pool that applies the trained weighter."""
    return ActorPool(
        actor=Annotator,
        arguments={
            "model": config.student.model,
            "num_heads": weighting.num_heads,
            "split_newlines": config.steps.split_newlines,
            "storage": config.storage,
            "weighter": f"{artifact.folder}/weighter.safetensors",
        },
        resources=config.resources.apply_weighter,
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",
    )
