"""What makes the artifact of each phase from the artifacts before it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

import pyarrow as pa

from kpod_ray.config import RunConfig
from kpod_ray.evaluation.phase import evaluate_student
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Question
from kpod_ray.schedule.assess import assess_difficulty
from kpod_ray.schedule.plan import plan_schedule
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.teacher.phase import generate_rationales
from kpod_ray.training.phase import train_student
from kpod_ray.weighting.phase import write_token_weights

OnTrainStep = Callable[[str, Mapping[str, float]], None]
OnRows = Callable[[str, int, int], None]


def makers(
    config: RunConfig, made: Mapping[str, Artifact], on_train_step: OnTrainStep, on_rows: OnRows
) -> dict[str, Callable[[Artifact], Manifest]]:
    """Return what makes each artifact: it takes the artifact and returns its manifest.

    Args:
        config: of the run.
        made: the artifacts of the run; those that one is made of are finished when it is made.
        on_train_step: gets the phase and the metrics of every train step.
        on_rows: gets the name of an artifact, how many of its texts are there, and how many are to be.
    """
    questions, train = made["questions"], made["train"]
    student = train.store.address(f"{train.folder}/student")
    teacher = made["teacher"]  # holds the questions that have a rationale, too
    on_weigh = functools.partial(on_train_step, "weigh")
    on_train = functools.partial(on_train_step, "train")

    def rows_of(name: str) -> Callable[[int, int], None]:
        """Return what gets the texts of one artifact."""
        return functools.partial(on_rows, name)

    return {
        "questions": lambda out: _write_questions(config, out),
        "teacher": lambda out: generate_rationales(config, questions, out, rows_of("teacher")),
        "weigh": lambda out: write_token_weights(config, teacher, out, on_weigh),
        "assess": lambda out: assess_difficulty(config, teacher, made["weigh"], out),
        "plan": lambda out: plan_schedule(config, teacher, made["assess"], out),
        "train": lambda out: train_student(
            config, teacher, made["assess"], made["plan"], out, on_train
        ),
        "evaluate_before": lambda out: evaluate_student(
            config, questions, config.student.model, out, rows_of("evaluate_before")
        ),
        "evaluate": lambda out: evaluate_student(
            config, questions, student, out, rows_of("evaluate")
        ),
    }


def _write_questions(config: RunConfig, artifact: Artifact) -> Manifest:
    """Phase ``questions``: read or make the questions; bad rows are written aside."""
    loaded = load_questions(config.questions, config.seed)
    splits = [question.split for question in loaded.questions]
    artifact.write("questions", Question.to_table(loaded.questions))
    bad = [dataclasses.asdict(row) for row in loaded.bad_rows]
    if bad:
        artifact.write("bad_rows", pa.Table.from_pylist(bad))
    counts = {"train": splits.count("train"), "test": splits.count("test"), "bad_rows": len(bad)}
    return {"counts": counts}
