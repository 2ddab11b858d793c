"""Phase ``plan``: cluster the questions and plan every stage before training (Algorithm 1)."""

from __future__ import annotations

import functools
import json

import numpy as np
import pyarrow as pa
import torch

from kpod_ray.algorithm.schedule import Plan, ScheduleSettings, Solver, plan_stages
from kpod_ray.algorithm.selection import select_by_merge, select_by_thresholds
from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import RunConfig, ScheduleConfig
from kpod_ray.data.clusters import cluster_questions, mean_embeddings
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.records import Question, StageRow, StepDifficulty


def plan_schedule(
    config: RunConfig, questions: Artifact, assess: Artifact, artifact: Artifact
) -> Manifest:
    """Write ``schedule`` (question, stage, given steps), ``clusters`` and the plan's totals."""
    difficulties = StepDifficulty.from_table(assess.read("difficulties"))
    difficulties.sort(key=lambda row: row.question_id)  # ties are broken by question id
    ids = [row.question_id for row in difficulties]
    clusters = _clusters(config, questions, ids)
    num_steps = np.array([len(row.step_difficulties) for row in difficulties])
    flat = np.concatenate([row.step_difficulties for row in difficulties]).astype(np.float64)
    plan = plan_stages(flat, num_steps, clusters, _settings(config.schedule))
    artifact.write("schedule", _schedule_table(ids, plan))
    artifact.write("clusters", pa.table({"question_id": ids, "cluster_id": clusters}))
    totals = {"ceilings": plan.ceilings.tolist(), "planned": plan.planned.tolist()}
    artifact.store.write_text(f"{artifact.folder}/totals.json", json.dumps(totals))
    counts = {"questions": len(ids), "steps": len(flat), "clusters": len(np.unique(clusters))}
    return {"counts": counts, "total_difficulty": float(flat.sum())}


def _settings(config: ScheduleConfig) -> ScheduleSettings:
    return ScheduleSettings(
        num_stages=config.num_stages,
        full_stage=config.resolved_full_stage,
        growth=config.growth,
        initial_share=config.initial_share,
        step_size=config.step_size,
        solver=_solver(config),
    )


def _solver(config: ScheduleConfig) -> Solver:
    if config.solver == "merge":
        return functools.partial(select_by_merge, diversity_weight=config.diversity_weight)
    return functools.partial(
        select_by_thresholds,
        diversity_weight=config.diversity_weight,
        epsilon=config.epsilon,
    )


def _clusters(config: RunConfig, questions: Artifact, ids: list[str]) -> np.ndarray:
    texts = {q.id: q.question for q in Question.from_table(questions.read("questions"))}
    folder = model_folder(config.student.model, MODEL_CACHE)
    student = load_student(folder, torch.float32)
    table = student.language_model.get_input_embeddings().weight.detach().numpy()
    embeddings = mean_embeddings(load_tokenizer(folder), table, [texts[i] for i in ids])
    return cluster_questions(embeddings, config.schedule.num_clusters, config.seed)


def _schedule_table(ids: list[str], plan: Plan) -> pa.Table:
    """Return one row a question and stage, stage by stage, from stage 0 on."""
    num_rows, num_questions = plan.num_given_steps.shape
    columns = {
        "question_id": ids * num_rows,
        "stage": np.repeat(np.arange(num_rows), num_questions),
        "num_given_steps": plan.num_given_steps.ravel(),
    }
    return pa.table(columns, schema=StageRow.schema)
