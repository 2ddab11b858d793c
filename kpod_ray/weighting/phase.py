"""Phase ``weigh``: write the artifact with the token weights, for each kind of ``weighting``.

Only this module and `kpod_ray.weighting.content` distinguish the kinds. A new kind takes a class of
settings in `kpod_ray.config.weighting`, a module like `hand_weights`, and a branch in both modules.
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
    replaced. The history is an empty list unless a weighter is trained. The manifest isn't written. Ray
    is used, and must be connected, only for learned weights; see `learn_token_weights` for further files
    and errors, and for the continuation of an interrupted call.

    Args:
        config: settings of the run.
        teacher: finished artifact with the questions and the selected rationales.
        artifact: artifact to write.
        watch: see `learn_token_weights`; called only while a weighter is trained.

    Returns:
        The manifest entries of the phase: those of `learn_token_weights` for learned weights, else
        ``counts`` alone, with ``rationales`` and, for a file of weights, ``unused_rows``.

    Raises:
        KpodError: A condition of `learn_token_weights`, `read_weights` or `load_tokenizer` holds.
        KpodError: The table ``rationales`` of ``teacher`` can't be read.
        OSError, ValueError: With hand weights, as in `load_tokenizer`.
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
