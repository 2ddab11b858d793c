"""Measure how steady learned token weights are: ``python -m benchmarks.steady_weighter``.

    python -m benchmarks.steady_weighter --data DIR --set svamp_palm --seed 0

One run trains the token weighter of one seed as in a run (`run_phases` up to ``weigh``) with
SmolLM2-135M as student, and appends one row of figures to ``benchmarks/outcomes/steady_weighter.jsonl``.
A run that is interrupted and started again goes on; a run whose row exists is not repeated. Then the
summary of all rows of the set is printed: Spearman's rank correlation of the token weights between the
seeds, and for each seed the AUC of keypoints above function words, the answer loss in nats with the
best, a random and the worst half of the tokens kept, and the minutes of the phase.

The losses are measured by a judge, a predictor that is adapted separately, on rationales that the judge
has not been adapted to. A row has the ids of these rationales and the quantiles of their token weights
in 256 steps, so that the correlations need no other files, and no texts. Config overrides may follow:
``weighting.num_seeds=1``.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.keypoints import config_of, weigh
from benchmarks.rank_correlation import rank_correlation
from kpod_ray.algorithm.keypoint_mask import annealed_temperature
from kpod_ray.algorithm.rank_weights import rank_weights
from kpod_ray.config import LearnedWeighting, RunConfig
from kpod_ray.models.safetensors_state import fetch_module, upload_module
from kpod_ray.pipeline.naming import open_run
from kpod_ray.records import WeightedRationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.weighting.adaptation import parameter_groups
from kpod_ray.weighting.build import WeighterParts, build_parts
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import AdaptationLoss

SETS = {
    "svamp_palm": "svamp/palm540b",
    "gsm8k_llama": "gsm8k/llama3",
    "asdiv_gemma": "asdiv/gemma2b",
    "csqa_palm": "csqa/palm540b",
}
"""Name for ``--set`` -> name of the question set and teacher in `benchmarks.keypoints`."""
OUTCOMES = Path(__file__).parent / "outcomes" / "steady_weighter.jsonl"
JUDGE_SEED = 1_000_003
"""Seed of the judge, which no run has."""
JUDGE_SETTINGS = {"num_seeds": 1, "max_validation": 64, "validation_fraction": 0.15}
"""Settings of the judge that don't follow the config of the run."""


def judge(config: RunConfig, teacher: Artifact, storage: str) -> WeighterParts:
    """Return an adapted predictor with its validation set; the parameters are kept in ``storage``."""
    weighting = config.weighting
    assert isinstance(weighting, LearnedWeighting)
    job = WeightingJob(
        weighting=weighting.model_copy(update=JUDGE_SETTINGS),
        model=config.student.model,
        template=config.student.template,
        seed=JUDGE_SEED,
        storage=storage,
        questions=f"{teacher.folder}/questions.parquet",
        rationales=f"{teacher.folder}/rationales.parquet",
        folder=f"judge-{config.name}-{weighting.num_adapt_steps}",
        num_threads=torch.get_num_threads(),
        split_newlines=config.steps.split_newlines,
    )
    store = Store.open(storage)
    parts = build_parts(job, store, 0)
    path = job.path(job.adapted(0))
    if not store.exists(path):
        _adapt(parts, job.weighting)
        upload_module(parts.loss.predictor, store, path)
    fetch_module(parts.loss.predictor, store, path)
    return parts


def _adapt(parts: WeighterParts, weighting: LearnedWeighting) -> None:
    """Adapt the predictor of the judge in this process, as a run does."""
    loss = AdaptationLoss(parts.loss.predictor, weighting)
    optimizer = torch.optim.AdamW(parameter_groups(parts.loss.predictor, weighting))
    num_steps = weighting.num_adapt_steps
    for train_step in range(num_steps):
        indices = parts.training.indices(train_step)
        batch, noise = parts.training.batch(indices, train_step)
        temperature = annealed_temperature(
            train_step, num_steps, weighting.temperature, weighting.final_temperature
        )
        total, _ = loss(batch, noise, temperature, None)
        for group in optimizer.param_groups:
            group["lr"] = group["largest_lr"] * (1 - train_step / num_steps)
        (total / len(indices)).backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def measure(name: str, config: RunConfig, storage: str) -> dict[str, Any]:
    """Weigh the rationales of a set with one seed, judge the weights, and return the row of figures."""
    manifest, rows = weigh(config)
    parts = judge(config, open_run(config).artifacts["teacher"], storage)
    examples = parts.validation.sampler.examples
    ids = [example.question_id for example in examples]
    weights = _weights_of(rows, ids)
    quality = parts.validation.quality(weights)
    corpus = np.concatenate([np.array(row.token_weights) for row in rows])
    order = np.sort(corpus)
    quantiles = np.searchsorted(order, np.concatenate(weights), side="right") / len(order)
    steps = (255 * quantiles).round().astype(np.uint8)
    return {
        "set": name,
        "seed": config.seed,
        "settings": config.weighting.model_dump() if config.weighting else None,
        "rationales": len(rows),
        "tokens": len(corpus),
        "minutes": round(manifest["seconds"] / 60, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "judged": {key: _rounded(value) for key, value in quality.items()},
        "own": {key: _rounded(value) for key, value in manifest["quality"].items()},
        "warning": manifest.get("warning"),
        "question_ids": ids,
        "quantiles": base64.b64encode(steps.tobytes()).decode(),
    }


def _weights_of(
    rows: Sequence[WeightedRationale], question_ids: Sequence[str]
) -> list[npt.NDArray[np.float64]]:
    """Return the token weights of the rationales of some questions."""
    by_id = {row.question_id: np.array(row.token_weights) for row in rows}
    return [by_id[question_id] for question_id in question_ids]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures of the runs of one set, at least one, as lines of text."""
    lines = []
    for row in rows:
        judged = row["judged"]
        best, random, worst = (
            judged[f"{half}_half_loss"] for half in ("highest", "random", "lowest")
        )
        lines.append(
            f"seed {row['seed']}: AUC {judged['auc']}, best half {best}, random half {random}, worst "
            f"half {worst}, best / random {best / random:.2f}, {row['minutes']} minutes"
        )
    scores = [
        rank_weights(np.frombuffer(base64.b64decode(row["quantiles"]), np.uint8).astype(float), 0)
        for row in rows
    ]
    correlations = [
        rank_correlation(first, second) for first, second in itertools.combinations(scores, 2)
    ]
    known = [value for value in correlations if value is not None]
    if known:
        lines.append(f"rank correlation: mean {np.mean(known):.3f}, lowest {min(known):.3f}")
    return "\n".join(lines)


def read_rows(name: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a set with these settings of the weighter, in the order of the file."""
    if not OUTCOMES.exists():
        return []
    rows = [json.loads(line) for line in OUTCOMES.read_text().splitlines()]
    return [row for row in rows if (row["set"], row["settings"]) == (name, settings)]


def main() -> None:
    """Run the benchmark for one set and seed, and print the summary of the set."""
    parser = argparse.ArgumentParser(description="steadiness of learned token weights")
    parser.add_argument("--data", required=True, help="folder of the question sets")
    parser.add_argument("--set", required=True, choices=sorted(SETS))
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--storage", default=str(Path.home() / "kpod_runs" / "steady_weighter"))
    options, overrides = parser.parse_known_args()
    config = config_of(SETS[options.set], options.data, options.storage, overrides)
    config = config.override({"seed": options.seed})
    assert config.weighting is not None
    settings = json.loads(json.dumps(config.weighting.model_dump()))
    if options.seed not in {row["seed"] for row in read_rows(options.set, settings)}:
        row = measure(options.set, config, options.storage)
        OUTCOMES.parent.mkdir(exist_ok=True)
        with OUTCOMES.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print(summary(read_rows(options.set, settings)))


if __name__ == "__main__":
    main()
