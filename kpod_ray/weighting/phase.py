"""Phase ``weigh``: write the artifact with the token weights, for each kind of ``weighting``.

Only this module and `kpod_ray.weighting.content` distinguish the kinds. To add a kind, write a class of
settings in `kpod_ray.config.weighting`, a module like `hand_weights`, and a branch in the functions of
this module and of ``content``.
"""

from __future__ import annotations

import pyarrow as pa

from kpod_ray.cluster.metrics_board import Watcher
from kpod_ray.config import FileWeighting, HandWeighting, LearnedWeighting, RunConfig
from kpod_ray.models.student import load_tokenizer
from kpod_ray.records import Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.weighting.given_weights import read_weights, unweighted
from kpod_ray.weighting.hand_weights import hand_weighted
from kpod_ray.weighting.learned_weights import learn_token_weights


def write_token_weights(
    config: RunConfig, teacher: Artifact, artifact: Artifact, watch: Watcher
) -> Manifest:
    """Write the table ``weighted``, with one row for each rationale, and ``history.json``.

    The `WeightedRationale` rows are in the order of the table ``rationales``; existing files are
    replaced. Ray is used, and must be connected, only for learned weights; see `learn_token_weights` for
    the further files and for an interrupted call.

    Args:
        config: settings of the run.
        teacher: finished artifact with the questions and the selected rationales.
        artifact: artifact to write; the history is an empty list unless a weighter is trained. Its
            manifest isn't written.
        watch: see `learn_token_weights`; called only while a weighter is trained.

    Returns:
        The manifest entries of the phase: those of `learn_token_weights` for learned weights, else
        ``counts`` alone, with ``rationales`` and, for a file of weights, ``unused_rows``.

    Raises:
        KpodError: A condition of `learn_token_weights` or `read_weights` holds or, with hand weights, of
            `load_tokenizer`.
        FileNotFoundError: ``teacher`` has no table ``rationales``.
        OSError: With hand weights, as in `load_tokenizer`.
        ValueError: With hand weights, as in `load_tokenizer`.
        TrainingFailedError: As in `learn_token_weights`.
        RuntimeError: As in `learn_token_weights`.
        ray.exceptions.RayError: As in `learn_token_weights`.
    """
    if isinstance(config.weighting, LearnedWeighting):
        return learn_token_weights(config, config.weighting, teacher, artifact, watch)
    rationales = teacher.read("rationales")
    table, counts = _weighted(config, rationales)
    artifact.write("weighted", table)
    artifact.store.write_text(f"{artifact.folder}/history.json", "[]")
    return {"counts": {"rationales": rationales.num_rows, **counts}}


def _weighted(config: RunConfig, rationales: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Return the weighted rationales and further counts for kinds of weighting without training."""
    weighting = config.weighting
    split = config.steps.split_newlines
    if isinstance(weighting, FileWeighting):
        imported = read_weights(weighting, rationales, split_newlines=split)
        return imported.table, {"unused_rows": imported.num_unused}
    rows = Rationale.from_table(rationales)
    if isinstance(weighting, HandWeighting):
        tokenizer = load_tokenizer(config.student.model)
        weighted = (
            hand_weighted(row, tokenizer, weighting.plain_weight, split_newlines=split)
            for row in rows
        )
        return WeightedRationale.to_table(weighted), {}
    return WeightedRationale.to_table(unweighted(row, split_newlines=split) for row in rows), {}
