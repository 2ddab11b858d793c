"""Map each artifact to the function of its phase that makes the artifact."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from kpod_ray.config import RunConfig
from kpod_ray.evaluation.phase import evaluate_further_sets, evaluate_student
from kpod_ray.pipeline.trained_student import trained_student
from kpod_ray.questions.contamination import contamination_warning
from kpod_ray.questions.further import load_further_set, questions_table
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Question
from kpod_ray.schedule.assess import assess_difficulty
from kpod_ray.schedule.plan import plan_schedule
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.lease import OnWait
from kpod_ray.teacher.phase import generate_rationales
from kpod_ray.training.phase import train_student
from kpod_ray.weighting.phase import write_token_weights

OnTrainStep = Callable[[str, Mapping[str, float]], None]
"""Takes a phase, ``weigh`` or ``train``, and the metrics of a train step by name.

The function is called in a thread; after an exception, it isn't called again for this phase.
"""
OnRows = Callable[[str, int, int], None]
"""Takes the name of an artifact, the number of texts generated so far, and the total number of texts."""


def makers(
    config: RunConfig,
    made: Mapping[str, Artifact],
    on_train_step: OnTrainStep,
    on_rows: OnRows,
    on_wait: OnWait,
) -> dict[str, Callable[[Artifact], Manifest]]:
    """Return, for each artifact of a run, the function that makes the artifact.

    Args:
        config: config of the run.
        made: name -> artifact of the run, see `name_artifacts`. When a function is called, the artifacts
            of the earlier phases must be finished.
        on_train_step: called after every train step of the token weighter and the student.
        on_rows: called as the teacher's samples and the students' answers are generated.
        on_wait: called if another process is generating samples of the same teacher.

    Returns:
        Name of the artifact -> function that takes the artifact ``made[name]``, writes its files,
        returns its manifest, and raises the errors of its phase. The function doesn't mark the artifact
        as finished. All functions but those of phase ``questions`` need a connection to Ray.
    """
    questions = made["questions"]
    # Phase teacher writes a table of questions, too: those with a rationale, a copy of a question for
    # each further rationale. Later phases read this table and not the artifact of phase questions.
    teacher = made["teacher"]
    on_weigh = functools.partial(on_train_step, "weigh")
    on_train = functools.partial(on_train_step, "train")
    on_samples = functools.partial(on_rows, "teacher")
    return {
        "questions": lambda out: _write_questions(config, out),
        "questions_also": lambda out: _write_further_sets(config, questions, out),
        "teacher": lambda out: generate_rationales(config, questions, out, on_samples, on_wait),
        "weigh": lambda out: write_token_weights(config, teacher, out, on_weigh),
        "assess": lambda out: assess_difficulty(config, teacher, made["weigh"], out),
        "plan": lambda out: plan_schedule(config, teacher, made["assess"], out),
        "train": lambda out: train_student(
            config, teacher, made["assess"], made["plan"], out, on_train
        ),
        **_evaluations(config, made, on_rows),
    }


def _evaluations(
    config: RunConfig, made: Mapping[str, Artifact], on_rows: OnRows
) -> dict[str, Callable[[Artifact], Manifest]]:
    """Return the functions of `makers` for the artifacts of phase ``evaluate``."""
    untouched = config.student.model
    trained = functools.partial(trained_student, made["train"], untouched)

    def rows_of(name: str) -> Callable[[int, int], None]:
        """Return `on_rows` for one artifact."""
        return functools.partial(on_rows, name)

    return {
        "evaluate_before": lambda out: evaluate_student(
            config, made["questions"], untouched, out, rows_of("evaluate_before")
        ),
        "evaluate": lambda out: evaluate_student(
            config, made["questions"], trained(), out, rows_of("evaluate")
        ),
        "evaluate_also_before": lambda out: evaluate_further_sets(
            config, made["questions_also"], untouched, out, rows_of("evaluate_also_before")
        ),
        "evaluate_also": lambda out: evaluate_further_sets(
            config,
            made["questions_also"],
            trained(),
            out,
            rows_of("evaluate_also"),
        ),
    }


def _write_questions(config: RunConfig, artifact: Artifact) -> Manifest:
    """Run phase ``questions``: load the questions, and write what is wrong to tables of its own.

    The tables are ``bad_rows`` and ``contamination``; a table without rows isn't written.
    """
    loaded = load_questions(config.questions, config.seed)
    splits = [question.split for question in loaded.questions]
    artifact.write("questions", Question.to_table(loaded.questions))
    _write_rows(artifact, "bad_rows", loaded.bad_rows)
    _write_rows(artifact, "contamination", loaded.contamination)
    num_equal = sum(repeat.similarity == 1 for repeat in loaded.contamination)
    counts = {
        "train": splits.count("train"),
        "test": splits.count("test"),
        "bad_rows": len(loaded.bad_rows),
        "repeated_rows": loaded.num_repeats,
        "equal_to_test": num_equal,
        "nearly_equal_to_test": len(loaded.contamination) - num_equal,
    }
    warning = contamination_warning(loaded.contamination, config.questions)
    manifest = {"counts": counts, "columns": dict(loaded.columns)}
    return {**manifest, **({"warning": warning} if warning else {})}


def _write_further_sets(config: RunConfig, questions: Artifact, artifact: Artifact) -> Manifest:
    """Write a table of questions for each of the further test sets, without repeated questions.

    ``questions`` is the finished artifact with the training questions. What was left out is in the
    tables ``bad_rows_NAME`` and ``contamination_NAME``, which aren't written without rows.
    """
    training = Question.from_table(questions.read("questions"))
    sets, total = {}, Counter[str]()
    for name, source in config.evaluation.also.items():
        loaded = load_further_set(name, source, config.seed, training)
        artifact.write(questions_table(name), Question.to_table(loaded.questions))
        _write_rows(artifact, f"bad_rows_{name}", loaded.bad_rows)
        _write_rows(artifact, f"contamination_{name}", loaded.contamination)
        sets[name] = {
            "questions": len(loaded.questions),
            "repeats_of_training": len(loaded.contamination),
            "repeats_in_set": loaded.num_repeats,
            "bad_rows": len(loaded.bad_rows),
        }
        total.update(sets[name])
    return {"counts": dict(total), "sets": sets}


def _write_rows(artifact: Artifact, name: str, rows: Sequence[Any]) -> None:
    """Write a table of dataclasses, if there are any."""
    if rows:
        artifact.write(name, pa.Table.from_pylist([dataclasses.asdict(row) for row in rows]))
