"""Learned token weights: train the token weighters, then apply them to every rationale.

Ray Train trains the weighters (`kpod_ray.weighting.worker`), and a pool of `Annotator` actors applies
them. Both resume: the training from its checkpoint, the pool from the rows already stored.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from kpod_ray.algorithm.rank_weights import mean_ranks, rank_weights
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
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.store import Store
from kpod_ray.weighting.entry import weighting_worker
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import build_weighter
from kpod_ray.weighting.validation import MOST_MISSING

BATCH_SIZE = 32
"""Rationales that an `Annotator` gets in one call."""
_WEIGHTS = "token_weights"
"""Column of the table ``weighted``."""


class Annotator:
    """Weighs the tokens of rationales with trained weighters and splits the rationales into steps.

    `Annotator` is a plain class, which an `ActorPool` runs in actors. The weighters compute on the GPU
    if the process sees one, else on the CPU. The student's model may be downloaded first.

    Args:
        model: name of the student's model.
        weighting: settings of the training.
        split_newlines: whether newlines end reasoning steps.
        storage: address of the store.
        folder: folder of the artifact with the weighters' files, relative to the store's root.

    Raises:
        KpodError, OSError, ValueError: As in `load_tokenizer`, `load_student` and `build_weighter`; or
            the store or the file of a weighter can't be opened.
        RuntimeError: A file holds parameters of other names or shapes than a weighter has.
    """

    def __init__(
        self,
        model: str,
        weighting: LearnedWeighting,
        split_newlines: bool,
        storage: str,
        folder: str,
    ) -> None:
        self.device = device()
        self.tokenizer = load_tokenizer(model)
        self.split_newlines = split_newlines
        language_model = load_student(model, torch.float32).language_model
        self.weighters = []
        for index in range(weighting.num_seeds):
            weighter = build_weighter(language_model, weighting)
            path = f"{folder}/{WeightingJob.weighter(index)}"
            fetch_module(weighter, Store.open(storage), path)
            self.weighters.append(weighter.eval().to(self.device))

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the `WeightedRationale` rows of a table of `Rationale` rows, in order.

        The spans are the student's tokens, without the white space before each token. The column
        ``token_weights`` holds for each weighter a list of weights in [0, 1]. No text may be empty, and
        none is truncated.

        Raises:
            KpodError: A weight isn't finite.
        """
        rows = Rationale.from_table(batch)
        weighed = [self._weigh(row) for row in rows]
        table = WeightedRationale.to_table(row for row, _ in weighed)
        column = pa.array([weights for _, weights in weighed], pa.list_(pa.list_(pa.float32())))
        return table.set_column(table.column_names.index(_WEIGHTS), _WEIGHTS, column)

    def _weigh(self, row: Rationale) -> tuple[WeightedRationale, list[list[float]]]:
        """Return a rationale without weights, and each weighter's weights of its tokens."""
        ids, starts, ends = encode_with_spans(self.tokenizer, row.text)
        tokens = torch.tensor([ids], device=self.device)
        mask = torch.ones_like(tokens, dtype=torch.bool)
        weights = torch.stack([w.token_weights(tokens, mask)[0] for w in self.weighters])
        if not bool(weights.isfinite().all()):
            raise KpodError(
                f"the token weights of question {row.question_id} aren't finite; lower "
                "weighting.learning_rate"
            )
        steps = split_steps(row.text, split_newlines=self.split_newlines)
        weighted = WeightedRationale(
            question_id=row.question_id,
            text=row.text,
            token_starts=starts.tolist(),
            token_ends=ends.tolist(),
            token_weights=[],
            step_starts=[start for start, _ in steps],
            step_ends=[end for _, end in steps],
        )
        return weighted, weights.tolist()


def learn_token_weights(
    config: RunConfig,
    weighting: LearnedWeighting,
    teacher: Artifact,
    artifact: Artifact,
    watch: Watcher,
) -> Manifest:
    """Train the weighters and weigh all rationales of the artifact ``teacher``, with Ray connected.

    The artifact gets the table ``weighted``, one row for each rationale in the order of the table
    ``rationales`` (with weights by rank unless ``weighting.floor`` is None),
    ``weighter-<index>.safetensors`` for each weighter, and ``history.json``, the metrics of all
    validations. An interrupted call is continued. ``watch`` is called in a thread of the driver with the
    metrics of every train step and validation. The result holds the entries of the manifest, which isn't
    written: ``counts``; ``best``, for each weighter the metrics of its best validation, or None if its
    weights were collapsed at all validations; ``quality`` (`WeightingValidation.quality`); ``workers``,
    the configured number; ``nodes``; and ``warning`` after a collapse at the last validation, damaged
    checkpoints, or if prefixes teach the predictor nothing.

    Raises:
        KpodError: There are more workers than rationales, or than ``global_batch_size``; or as the entry
            ``error`` of `train_weighters`.
        TrainingFailedError, ray.exceptions.RayError: Workers or actors failed, or didn't start in time.
    """
    workers = config.resources.weighting
    rationales = teacher.read("rationales")
    _check_workers(workers.num_workers, min(weighting.global_batch_size, rationales.num_rows))
    job = _job(config, weighting, teacher, artifact)
    with watched(watch) as board:
        returned = fit(weighting_worker, {"job": job, "board": board}, workers, artifact)
    result = stream_rows(
        artifact, "annotated", rationales, _pool(config, weighting, artifact), "question_id"
    )
    table = _combined(result.table)
    # The ranks are those of all tokens of the corpus, so the weights wait for the last rationale.
    artifact.write("weighted", table if weighting.floor is None else ranked(table, weighting.floor))
    weighters = returned["weighters"]
    history = [row for weighter in weighters for row in weighter["history"]]
    artifact.store.write_text(f"{artifact.folder}/history.json", json.dumps(history))
    _delete_interim_files(job, artifact)
    return {
        "counts": {"rationales": result.table.num_rows, "resumed": result.num_resumed},
        "best": [weighter["best"] for weighter in weighters],
        "quality": returned["quality"],
        "workers": workers.num_workers,
        "nodes": described(returned["nodes"] | result.nodes),
        **_warning(returned, weighting),
    }


def _check_workers(num_workers: int, num_rationales: int) -> None:
    """Raise a `KpodError` if a train step has fewer rationales than there are workers."""
    if num_workers > num_rationales:
        raise KpodError(
            f"resources.weighting.num_workers={num_workers} is more than the rationales of one "
            "train step; lower it or raise weighting.global_batch_size"
        )


def _delete_interim_files(job: WeightingJob, artifact: Artifact) -> None:
    """Delete the files that only serve an interrupted call: rows, checkpoints and predictors."""
    discard_stream(artifact, "annotated")
    artifact.store.delete(f"{artifact.folder}/fit")
    for index in range(job.weighting.num_seeds):
        artifact.store.delete(job.path(job.adapted(index)))
        artifact.store.delete(job.path(job.finished(index)))


def _job(
    config: RunConfig, weighting: LearnedWeighting, teacher: Artifact, artifact: Artifact
) -> WeightingJob:
    """Return the description of the training for its workers."""
    return WeightingJob(
        weighting=weighting,
        model=config.student.model,
        template=config.student.template,
        seed=config.seed,
        storage=config.storage,
        questions=f"{teacher.folder}/questions.parquet",
        rationales=f"{teacher.folder}/rationales.parquet",
        folder=artifact.folder,
        num_threads=threads_of(config.resources.weighting),
        split_newlines=config.steps.split_newlines,
    )


def _combined(table: pa.Table) -> pa.Table:
    """Return the `WeightedRationale` table of the results of `Annotator`, with one list of weights."""
    rows = [[np.array(own) for own in row] for row in table[_WEIGHTS].to_pylist()]
    weights = mean_ranks(list(zip(*rows, strict=True)))
    column = pa.array([row.tolist() for row in weights], pa.list_(pa.float64()))
    index = table.column_names.index(_WEIGHTS)
    return table.set_column(index, _WEIGHTS, column).cast(WeightedRationale.schema)


def ranked(table: pa.Table, floor: float) -> pa.Table:
    """Return `WeightedRationale` rows with the weights by rank among all tokens (`rank_weights`)."""
    scores = table["token_weights"].combine_chunks()
    weights = rank_weights(scores.flatten().to_numpy().astype(np.float64), floor)
    ends = np.cumsum(scores.value_lengths().to_numpy())
    offsets = pa.array([0, *ends], pa.int32())
    column = pa.ListArray.from_arrays(offsets, pa.array(weights, pa.float32()))
    name = "token_weights"
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _warning(returned: dict[str, Any], weighting: LearnedWeighting) -> dict[str, str]:
    """Return the manifest entry ``warning`` about a training from what it returned; empty if sound."""
    warnings = [
        *returned["warnings"],
        *_collapses(returned["weighters"]),
        *_chance(returned["quality"], weighting),
    ]
    return {"warning": "; ".join(warnings)} if warnings else {}


def _collapses(weighters: list[dict[str, Any]]) -> list[str]:
    """Return a warning for each weighter whose weights collapsed."""
    found = []
    for index, weighter in enumerate(weighters):
        problem = weighter["collapse"]
        best = weighter["best"]
        last = weighter["train_step"]
        if best is None:
            found.append(
                f"weighter {index} was never sound in {last} train steps: {problem}; its token weights "
                "say little, raise weighting.num_adapt_steps, or change weighting.learning_rate or "
                "weighting.mask_ratio_weight"
            )
        elif problem is not None:
            found.append(
                f"weighter {index} collapsed by train step {last}: {problem}; "
                f"the one of train step {best['train_step']:.0f} is used"
            )
    return found


def _chance(quality: dict[str, float | None], weighting: LearnedWeighting) -> list[str]:
    """Return a warning if prefixes help the predictor no more than no rationale at all."""
    gains = {k: quality[f"missing_{k}_gain"] for k in range(MOST_MISSING + 1)}
    useless = [k for k, gain in gains.items() if gain is not None and gain <= 0]
    if not useless:
        return []
    names = ["whole" if k == 0 else f"without their last {k} steps" for k in useless]
    mended = (
        "the weighters for which that holds of the last step read whole rationales alone"
        if weighting.whole_fraction is None
        else "raise weighting.num_adapt_steps or weighting.whole_fraction"
    )
    return [
        f"rationales {', '.join(names)} teach the weighter nothing: the predictor's answer loss is no "
        f"lower than without any rationale; {mended}"
    ]


def _pool(config: RunConfig, weighting: LearnedWeighting, artifact: Artifact) -> ActorPool:
    """Return the description of the actor pool that applies the trained weighters."""
    return ActorPool(
        actor=Annotator,
        arguments={
            "model": config.student.model,
            "weighting": weighting,
            "split_newlines": config.steps.split_newlines,
            "storage": config.storage,
            "folder": artifact.folder,
        },
        resources=config.resources.apply_weighter,
        batch_size=BATCH_SIZE,
        batch_format="pyarrow",
    )
