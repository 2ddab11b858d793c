"""A run whose phases up to ``weigh`` are written by hand."""

import re
from pathlib import Path

import numpy as np

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import RunConfig
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run_files import write_run_files
from kpod_ray.records import Question, Rationale, WeightedRationale

QUESTIONS = [
    Question("n", "3 + 4?", "7", "number", (), "train", ""),
    Question("d", "5 / 2?", "2.5", "number", (), "train", ""),
    Question("c", "Which is odd?", "B", "choice", ("two", "three"), "train", ""),
    Question("b", "Is 7 odd?", "yes", "boolean", (), "train", ""),
    Question("t", "Who counts?", "the teacher", "text", (), "train", ""),
    Question("n#2", "3 + 4?", "7", "number", (), "train", ""),
]
TEXTS = [
    "He has 3 eggs.\nShe brings 4 more, and 3 + 4 = 7 eggs.",
    "Five halves are two and a half. Write it as 2.5 \u20ac, not as a fraction.",
    "Two is even, as 2 = 2 * 1. Three is not: 3 = 2 * 1 + 1.",
    "Seven is 2 * 3 + 1. So a one is left over, which makes it odd.",
    "Pupils listen to what is said. Somebody else says the numbers aloud.",
    "Three and four more. Counting on from 3: 4, 5, 6, 7.",
]


def weighted(question, text, seed):
    """A rationale whose words have random weights, as numbers of 32 bits."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    weights = np.random.default_rng(seed).uniform(size=len(spans)).astype(np.float32).tolist()
    steps = split_steps(text, split_newlines=True)
    return WeightedRationale(
        question.id, text, *zip(*spans, strict=True), weights, *zip(*steps, strict=True)
    )


def rationale(question, text):
    original, _, index = question.id.partition("#")
    number = int(index or 0)
    return Rationale(
        f"{original}/{number}",
        question.id,
        number,
        text,
        "t-7b",
        "stop",
        9,
        question.answer,
        "kept",
        -1.5,
    )


def config_of(tmp_path, **changes):
    settings = {
        "name": "run",
        "storage": str(tmp_path / "store"),
        "questions": {"source": "file", "path": str(tmp_path / "questions.jsonl")},
        "teacher": {"kind": "reference"},
        "student": {"model": "tiny:0"},
        **changes,
    }
    return RunConfig.model_validate(settings)


def finish(run, phase, manifest, **tables):
    for name, table in tables.items():
        run.artifacts[phase].write(name, table)
    run.artifacts[phase].finish({"seconds": 0.0, **manifest})


def written_run(tmp_path, questions=QUESTIONS, texts=TEXTS, **changes):
    """A run with its phases up to ``weigh`` as they would be after them."""
    (tmp_path / "questions.jsonl").write_text('{"id": "n", "question": "?", "answer": "7"}\n')
    run = open_run(config_of(tmp_path, **changes))
    pairs = list(zip(questions, texts, strict=True))
    finish(run, "questions", {"counts": {}}, questions=Question.to_table(questions))
    counts = {
        "questions": len(pairs),
        "samples": len(pairs),
        "tokens": 9 * len(pairs),
        "questions_without_rationale": 0,
    }
    finish(
        run,
        "teacher",
        {"teacher": "t-7b", "counts": counts, "verdicts": {"kept": len(pairs)}},
        questions=Question.to_table(reversed(questions)),  # any order will do
        rationales=Rationale.to_table(rationale(*pair) for pair in pairs),
        rejects=Rationale.to_table([]),
    )
    table = WeightedRationale.to_table(
        weighted(question, text, seed) for seed, (question, text) in enumerate(pairs)
    )
    weigh = run.artifacts["weigh"]
    weigh.store.write_text(f"{weigh.folder}/history.json", "[]")
    finish(run, "weigh", {"counts": {"rationales": len(pairs)}}, weighted=table)
    return run


def run_folder(made):
    """What `run_phases` leaves of a run beside its artifacts."""
    write_run_files(made)
    return Path(made.config.storage) / made.folder
