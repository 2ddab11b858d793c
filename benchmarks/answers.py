"""Compare our verdicts on stored model outputs with published ones: ``python -m benchmarks.answers``.

For each file in ``DIR/model_outputs``, an answer is extracted from every output and compared with the
gold answer (`extract_answer`, `answers_equal`). The published verdict of a row is its field
``is_correct``; without this field, whether the published parsed answer equals the gold text.

For each file, the benchmark prints the share of equal verdicts, and every row with different verdicts
together with the verdict that a human reader found right (`benchmarks.answers_read`). The last line is
one JSON object; its rows per second are of processor time. ``--data DIR`` names the folder of the data,
by default ``../shared/data``.

With ``--math-verify``, which needs ``pip install math-verify``, math-verify judges the rows with a
number, too, from the whole output; rows where its verdict differs from ours are printed with the
reader's verdict.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import importlib
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from benchmarks.answers_read import math_verify_reading, reading
from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.questions.gold_answers import classify

ORACLE = "gsm8k_test_openai"
"""OpenAI's own verdicts on outputs of GPT-3; our verdicts should agree on every row."""
EXCERPT = 70
"""Characters at the end of an output that are printed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Our verdict and the published verdict on one model output."""

    file: str
    id: str
    gold: str
    ours: str
    theirs: str
    is_same_verdict: bool
    reading: str
    excerpt: str

    @property
    def is_ours_right(self) -> bool:
        """Whether our verdict is right; if no reader has read the row, whether both verdicts agree."""
        return self.reading.startswith("ours") or (self.is_same_verdict and not self.reading)


def judge(file: str, row: dict[str, Any]) -> Row:
    """Extract and judge the answer of one stored output, and compare with the published verdict.

    A row with different verdicts that no reader has read counts as our mistake.

    Args:
        file: short name of the file.
        row: one row of the file.
    """
    text = "\n".join(filter(None, (row["output"], row.get("closing"))))
    gold, kind = classify(row["answer"])
    ours = extract_answer(text, kind) or ""
    theirs = row.get("source_answer") or ""
    verdict = row["is_correct"] if "is_correct" in row else theirs == row["source_gold"]
    is_same = answers_equal(ours, gold, kind) == verdict
    excerpt = text[-EXCERPT:].replace("\n", " / ")
    return Row(file, row["id"], gold, ours, theirs, is_same, reading(file, row["id"]), excerpt)


def second_judge(folder: Path) -> dict[str, int]:
    """Judge every row with a number by math-verify; print and count the rows with another verdict.

    Returns:
        ``rows`` judged, ``different`` verdicts, and of these the rows for which a reader found ``ours``
        right, ``math_verify`` right, or that are ``not_read``.

    Raises:
        SystemExit: math-verify isn't installed.
    """
    try:
        math_verify: Any = importlib.import_module("math_verify")
    except ImportError as error:
        raise SystemExit("math-verify isn't installed; pip install math-verify") from error
    counts = collections.Counter(rows=0, different=0, ours=0, math_verify=0, not_read=0)
    for path in sorted(folder.glob("*.jsonl")):
        file = path.stem.removesuffix("_text_davinci_002_zeroshotcot")
        for row in map(json.loads, path.read_text().splitlines()):
            gold, kind = classify(row["answer"])
            if kind != "number":
                continue
            text = "\n".join(filter(None, (row["output"], row.get("closing"))))
            theirs = math_verify.verify(math_verify.parse(gold), math_verify.parse(text))
            counts["rows"] += 1
            if answers_equal(extract_answer(text, kind) or "", gold, kind) != theirs:
                verdict = math_verify_reading(file, row["id"]) or "not_read"
                who = verdict.partition(":")[0].replace("-", "_")
                counts.update(("different", who))
                print(f"  {file} {row['id']:16} gold {gold:10} right: {verdict}")
    return dict(counts)


def shares(rows: list[Row]) -> dict[str, float]:
    """Return the number of rows and the agreement in per cent, before and after reading by hand."""
    same = sum(row.is_same_verdict for row in rows)
    right = sum(row.is_ours_right for row in rows)
    return {
        "rows": len(rows),
        "raw": round(100 * same / len(rows), 2),
        "read": round(100 * right / len(rows), 2),
    }


def report(rows: list[Row]) -> None:
    """Print the agreement for one file, and its rows with different or with two wrong verdicts."""
    counts = shares(rows)
    print(
        f"\n{rows[0].file}: {counts['rows']} rows, {counts['raw']} % agree, {counts['read']} % read"
    )
    for row in rows:
        if not row.is_same_verdict or row.reading:
            who = row.reading or "not read"
            print(
                f"  {row.id:16} gold {row.gold:20} ours {row.ours:20} theirs {row.theirs:20}",
                end="",
            )
            print(f" right: {who:16} {row.excerpt}")


def measure(folder: Path) -> dict[str, Any]:
    """Judge the outputs of every file in a folder, print the differences and return the figures."""
    files: dict[str, list[Row]] = collections.defaultdict(list)
    started = time.process_time()
    for path in sorted(folder.glob("*.jsonl")):
        file = path.stem.removesuffix("_text_davinci_002_zeroshotcot")
        files[file] = [judge(file, json.loads(line)) for line in path.read_text().splitlines()]
    seconds = time.process_time() - started
    for rows in files.values():
        report(rows)
    others = [row for file, rows in files.items() if file != ORACLE for row in rows]
    return {
        "oracle": shares(files[ORACLE]),
        "others": shares(others),
        "not_read": sum(not row.is_same_verdict and not row.reading for row in others),
        "files": {file: shares(rows) for file, rows in files.items()},
        "rows_per_second": round((len(others) + len(files[ORACLE])) / seconds),
    }


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(description="Compare our verdicts with those of others.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--math-verify", action="store_true", help="judge by math-verify, too")
    arguments = parser.parse_args()
    folder = arguments.data / "model_outputs"
    if not (folder / f"{ORACLE}.jsonl").is_file():
        raise SystemExit(
            f"{folder} holds no {ORACLE}.jsonl; name the folder of the data with --data"
        )
    result = {
        "benchmark": "answers",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "kpod-ray": importlib.metadata.version("kpod-ray"),
        },
        "figures": measure(folder),
    }
    if arguments.math_verify:
        result["math_verify"] = second_judge(folder)
    print(f"\n{json.dumps(result)}")


if __name__ == "__main__":
    main()
