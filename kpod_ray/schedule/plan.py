"""Phase ``plan``: cluster the questions and plan all stages before training (Algorithm 1)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kpod_ray.algorithm.baseline_schedules import plan_at_once, plan_easy_to_hard
from kpod_ray.algorithm.schedule import Plan, plan_stages
from kpod_ray.config import RunConfig, ScheduleConfig
from kpod_ray.errors import KpodError
from kpod_ray.questions.splits import in_validation_set
from kpod_ray.records import Question
from kpod_ray.schedule.clustering import cluster_questions
from kpod_ray.schedule.embeddings import embed_questions
from kpod_ray.schedule.settings import difficulty_column, schedule_settings
from kpod_ray.schedule.tables import StepValues, step_values, write_plan
from kpod_ray.storage.artifacts import Artifact, Manifest


def plan_schedule(
    config: RunConfig, questions: Artifact, assess: Artifact, artifact: Artifact
) -> Manifest:
    """Run the phase in this process, without Ray: write ``clusters``, ``totals.json`` and ``schedule``.

    ``schedule`` has `StageRow` rows of stages 0 to N_e for the questions included in each stage,
    ``clusters`` the id and the cluster of each question (whatever ``schedule.order`` is); see
    `write_plan` for ``totals.json``. The questions are those of ``difficulties`` without the student's
    validation set (`in_validation_set`). Existing files are replaced.

    The table ``difficulties`` of ``assess`` is read, and the table ``questions`` of ``questions``, which
    must hold these questions. The manifest of ``artifact``, which gets the files, isn't written.

    Returns:
        The manifest entries of the phase: ``counts`` of the ``questions`` in the plan, their ``steps``
        and ``clusters``, and the questions in the ``validation`` set; and ``total_difficulty`` of the
        questions in the plan, in nats.

    Raises:
        KpodError: All questions are in the validation set, or as in `embed_questions` and
            `cluster_questions`.
        KpodError: A table of ``questions`` or ``assess`` can't be read.
        ValueError: As in `embed_questions`, `schedule_settings` and `plan_stages`.
    """
    schedule = config.schedule
    table = assess.read("difficulties")
    trained_on = _without_validation_set(table, config)
    # `step_values` sorts by question id. The solvers break ties by position, so the plan is the same
    # in whatever order the actors of phase ``assess`` finished.
    difficulties = step_values(trained_on, difficulty_column(schedule))
    ids = difficulties.question_ids
    clusters = _clusters(config, questions, ids)
    plan = _plan(schedule, difficulties, clusters)
    artifact.write("clusters", pa.table({"question_id": ids, "cluster_id": clusters}))
    write_plan(artifact.store, artifact.folder, ids, plan)
    counts = {
        "questions": len(ids),
        "steps": len(difficulties.values),
        "clusters": len(np.unique(clusters)),
        "validation": table.num_rows - trained_on.num_rows,
    }
    return {"counts": counts, "total_difficulty": float(difficulties.values.sum())}


def _without_validation_set(table: pa.Table, config: RunConfig) -> pa.Table:
    """Return the rows outside the student's validation set; raise a `KpodError` if there are none."""
    ids = table["question_id"].to_pylist()
    is_validation = in_validation_set(ids, config.student.validation_fraction, config.seed)
    if all(is_validation):
        raise KpodError(
            f"all {len(is_validation)} questions are held out for validation; "
            "lower student.validation_fraction"
        )
    return table.filter(pc.invert(pa.array(is_validation)))


def _plan(config: ScheduleConfig, difficulties: StepValues, clusters: np.ndarray) -> Plan:
    values = difficulties.values
    num_steps = difficulties.num_steps
    if config.order == "none":
        return plan_at_once(values, num_steps, config.num_stages)
    if config.order == "easy_to_hard":
        return plan_easy_to_hard(values, num_steps, schedule_settings(config))
    return plan_stages(values, num_steps, clusters, schedule_settings(config))


def _clusters(config: RunConfig, questions: Artifact, ids: pa.Array) -> np.ndarray:
    texts = {q.id: q.question for q in Question.from_table(questions.read("questions"))}
    vectors = embed_questions(
        [texts[i] for i in ids.to_pylist()], config.schedule.embedding, config.student.model
    )
    return cluster_questions(
        vectors, config.schedule.num_clusters, config.schedule.clustering, config.seed
    )
