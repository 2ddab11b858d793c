"""Phase ``weigh``: what makes its artifact for each kind of ``weighting``.

Only this module and `kpod_ray.weighting.content` tell the kinds apart. A further kind is a class of
settings in `kpod_ray.config.weighting`, a module beside `hand_weights`, and a branch in the functions
of the two modules.
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
    """Write ``weighted``, one row a rationale, and ``history.json``, empty where nothing is learned.

    Args:
        config: of the run.
        teacher: holds the questions and the rationales that go on.
        artifact: to be written.
        watch: gets the metrics of every train step of a weighter, on the driver, soon after it.

    Raises:
        KpodError: A weighter has more workers than rationales of one train step; a file of weights
            doesn't fit the rationales.
    """
    if isinstance(config.weighting, LearnedWeighting):
        return learn_token_weights(config, config.weighting, teacher, artifact, watch)
    rationales = teacher.read("rationales")
    table, counts = _weighted(config, rationales)
    artifact.write("weighted", table)
    artifact.store.write_text(f"{artifact.folder}/history.json", "[]")
    return {"counts": {"rationales": rationales.num_rows, **counts}}


def _weighted(config: RunConfig, rationales: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Return the table of weighted rationales, and what else is counted, where nothing is learned."""
    weighting, split = config.weighting, config.steps.split_newlines
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
