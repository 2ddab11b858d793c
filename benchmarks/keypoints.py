"""Measure the quality of token weights: ``python -m benchmarks.keypoints --data DIR``.

For each question set and teacher of real rationales, the token weighter is trained as in a run
(`run_phases` up to ``weigh``) with SmolLM2-135M as student. The benchmark prints the quality of the
weights on the validation set: the AUC of keypoints against function words, and the answer loss in nats
with the highest, a random and the lowest half of the tokens kept. It also prints tokens with extreme
weights and some weighted rationales. ``--seeds N`` trains N weighters and adds Spearman's rank
correlation of their weights. ``--only NAME ...`` selects sets. Config overrides may follow, as for
``kpod run``: ``weighting.num_train_steps=40``. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import tempfile
from typing import Any, NamedTuple

import numpy as np

from benchmarks.rank_correlation import rank_correlation
from kpod_ray.config import RunConfig, parse_override
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import QUIET, run_phases
from kpod_ray.records import WeightedRationale
from kpod_ray.report.run.collect import token_extremes


class Source(NamedTuple):
    """Files of a question set and of the rationales of one teacher, below ``--data``."""

    questions: str
    rationales: str
    max_chars: int = 400
    """Longer rationales, in characters, are left out because they take most of the time."""


SETS = {
    "svamp/gpt4o": Source("svamp/train.jsonl", "svamp/teacher_gpt4o_l1to6.jsonl"),
    "svamp/palm540b": Source("svamp/train.jsonl", "svamp/teacher_palm540b.jsonl"),
    "gsm8k/llama3": Source("gsm8k/train.jsonl", "gsm8k/teacher_llama3_70b_l2.jsonl"),
    "gsm8k/gpt35": Source(
        "gsm8k/train.jsonl", "gsm8k/teacher_gpt35turbo_zeroshot_500.jsonl", max_chars=600
    ),
    "asdiv/phi4mini": Source("asdiv/all.jsonl", "asdiv/teacher_phi_4_mini_instruct.jsonl"),
    "asdiv/gemma2b": Source("asdiv/all.jsonl", "asdiv/teacher_gemma_2_2b_it.jsonl"),
    "csqa/llama3": Source("commonsenseqa/train.jsonl", "commonsenseqa/teacher_llama3_70b_l2.jsonl"),
    "csqa/palm540b": Source("commonsenseqa/train.jsonl", "commonsenseqa/teacher_palm540b.jsonl"),
}
"""Name for ``--only`` -> files."""
NUM_SHOWN = 2
"""Weighted rationales that are printed per seed."""
NUM_WORDS = 12
"""Tokens with the highest and with the lowest weights that are printed per seed."""
SETTINGS = {"precision": "bf16"}
"""Settings of the weighter that aren't the default; on CPUs with bf16 arithmetic, bf16 takes half the
time."""


def config_of(name: str, data: str, storage: str, overrides: list[str]) -> RunConfig:
    """Return the config of a question set and teacher.

    Args:
        name: key of `SETS`.
        data: folder of the question sets.
        storage: folder of the storage.
        overrides: texts ``dotted.path=value``.
    """
    source = SETS[name]
    config = RunConfig.model_validate(
        {
            "name": name.replace("/", "-"),
            "storage": storage,
            "questions": {"source": "file", "path": f"{data}/{source.questions}", "limit": 500},
            "teacher": {
                "kind": "file",
                "path": f"{data}/{source.rationales}",
                "filters": {"max_chars": source.max_chars},
            },
            "weighting": SETTINGS,
            "student": {"model": "packaged:SmolLM2-135M-Instruct", "template": "plain"},
        }
    )
    return config.override(dict(parse_override(text) for text in overrides))


def weigh(config: RunConfig) -> tuple[dict[str, Any], list[WeightedRationale]]:
    """Run the phases up to ``weigh``; return its manifest and the weighted rationales."""
    run = open_run(config)
    run_phases(run, "weigh", QUIET)
    artifact = run.artifacts["weigh"]
    rows = WeightedRationale.from_table(artifact.read("weighted"))
    return artifact.manifest(), sorted(rows, key=lambda row: row.question_id)


def measure(name: str, config: RunConfig, num_seeds: int) -> dict[str, Any]:
    """Train the weighter of one set, once per seed; print and return the quality of its weights."""
    weights, correlations, figures = [], [], dict[str, Any]()
    for seed in range(config.seed, config.seed + num_seeds):
        manifest, rows = weigh(config.override({"seed": seed}))
        weights.append(np.concatenate([np.array(row.token_weights) for row in rows]))
        figures[f"seed {seed}"] = {
            **{key: _rounded(value) for key, value in manifest["quality"].items()},
            "train_steps": [best and best["train_step"] for best in manifest["best"]],
            "mean_weight": _rounded(float(weights[-1].mean())),
            "rationales": len(rows),
            "seconds": round(manifest["seconds"]),
            "warning": manifest.get("warning"),
        }
        print(f"{name} seed {seed}: {figures[f'seed {seed}']}", flush=True)
        _show(rows)
    for first, second in itertools.combinations(weights, 2):
        correlations.append(rank_correlation(first, second))
    defined = [value for value in correlations if value is not None]
    if defined:
        figures["rank_correlation"] = _rounded(statistics.fmean(defined))
        print(f"{name} rank correlation over seeds: {figures['rank_correlation']}", flush=True)
    return figures


def _show(rows: list[WeightedRationale]) -> None:
    """Print the tokens with the highest and the lowest weights, and some weighted rationales."""
    for label, tokens in zip(("highest", "lowest"), token_extremes(rows), strict=True):
        words = [f"{token.text} {token.mean_weight:.2f}" for token in tokens[:NUM_WORDS]]
        print(f"  {label}: {', '.join(words)}")
    for row in rows[:NUM_SHOWN]:
        spans = zip(row.token_starts, row.token_ends, row.token_weights, strict=True)
        print("  " + " ".join(f"{row.text[a:b].strip()}[{w:.2f}]" for a, b, w in spans))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description="quality of token weights on real rationales")
    parser.add_argument("--data", required=True, help="folder of the question sets")
    parser.add_argument("--only", nargs="+", choices=sorted(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--storage", help="folder to keep the results in; a temporary one if not set"
    )
    options, overrides = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        storage = options.storage or temporary
        figures = {
            name: measure(name, config_of(name, options.data, storage, overrides), options.seeds)
            for name in options.only
        }
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "keypoints", "machine": machine, "figures": figures}))


if __name__ == "__main__":
    main()
