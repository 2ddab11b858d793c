"""Phase ``evaluate``: generate greedy answers to the test questions and score the answers.

The backend is vLLM or transformers (``evaluation.backend``). Both store finished answers at once, so a
repeated evaluation generates only the missing answers.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from kpod_ray.cluster.actor_pool import discard_stream, parts_folder, stream_rows
from kpod_ray.cluster.placement import described
from kpod_ray.config import RunConfig
from kpod_ray.data.prompts import PromptBuilder
from kpod_ray.evaluation.further import predictions_table
from kpod_ray.evaluation.scoring import count_correct, predict, wilson_interval
from kpod_ray.evaluation.steps import step_statistics, with_steps
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.missing import OnRows, generate_missing
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.transformers_pool import generator_pool
from kpod_ray.inference.vllm_engine import vllm_pool
from kpod_ray.questions.further import questions_table
from kpod_ray.questions.splits import check_test_questions
from kpod_ray.records import Prediction, Question
from kpod_ray.storage.artifacts import Artifact, Manifest

ANSWERS = "answers"
"""Stream of finished answers inside the artifact, deleted after the table ``predictions`` is written."""


def evaluate_student(
    config: RunConfig, questions: Artifact, model: str, artifact: Artifact, on_rows: OnRows
) -> Manifest:
    """Write the table ``predictions`` of a model; return the manifest with the accuracy.

    The table has one row for each answered question, in the order of the questions, and replaces an
    existing table. Ray must be connected. The model and the settings must be those of interrupted calls
    for the same artifact, whose finished answers are used.

    Args:
        config: ``evaluation``, ``steps``, the student's template and precision, and
            ``resources.evaluate`` are used.
        questions: finished artifact of phase ``questions``; the first ``evaluation.limit`` of its test
            questions (all for None) are answered, at least one.
        model: name of a model as in the config, or the path or address of a trained student's folder.
        artifact: artifact of phase ``evaluate``, which is written, but not marked as finished.
        on_rows: called with the number of finished answers and the number of questions: with vLLM
            whenever new answers are finished; with transformers once at the end.

    Returns:
        The content of the manifest: ``counts``; ``accuracy``, a fraction with its 95 % Wilson interval;
        ``steps``, the fields of `StepStatistics`; ``model``; and ``nodes``, those that generated answers
        (with vLLM in this call only).

    Raises:
        KpodError: There is no test question. With vLLM: the model can't be served, the template is
            ``chat`` and the tokenizer has no chat template, the engine dies repeatedly, or the answers
            can't be written.
        ray.exceptions.RayError: An actor failed for another reason; with transformers also for a
            `KpodError`.
        RuntimeError: With transformers: the finished answers don't match the questions.
        OSError: The storage fails, such as for an artifact of the questions without its table.
    """
    rows = Question.from_table(questions.read("questions"))
    tested = [row for row in rows if row.split == "test"]
    check_test_questions(len(tested))
    scores, nodes = _evaluate(config, {"predictions": tested}, model, artifact, on_rows)
    return {**scores["predictions"], "model": model, "nodes": described(nodes)}


def evaluate_further_sets(
    config: RunConfig, sets: Artifact, model: str, artifact: Artifact, on_rows: OnRows
) -> Manifest:
    """Write a table of predictions of a model for each further test set; return the manifest.

    All sets are answered at once, by the same engines, and a question that two sets share is answered
    once. Arguments and errors are those of `evaluate_student`, but ``sets`` is the finished artifact
    ``questions_also``: the first ``evaluation.limit`` questions of each set are answered.

    Returns:
        The content of the manifest: ``sets`` holds ``counts``, ``accuracy`` and ``steps`` of each set by
        its name; ``counts`` has the sums over the sets.
    """
    names = {name: predictions_table(name) for name in sets.manifest()["sets"]}
    tested = {
        table: Question.from_table(sets.read(questions_table(name)))
        for name, table in names.items()
    }
    scores, nodes = _evaluate(config, tested, model, artifact, on_rows)
    counts = Counter[str]()
    for score in scores.values():
        counts.update(score["counts"])
    return {
        "counts": dict(counts),
        "sets": {name: scores[table] for name, table in names.items()},
        "model": model,
        "nodes": described(nodes),
    }


def _evaluate(
    config: RunConfig,
    tested: Mapping[str, Sequence[Question]],
    model: str,
    artifact: Artifact,
    on_rows: OnRows,
) -> tuple[dict[str, Manifest], frozenset[str]]:
    """Answer the first ``evaluation.limit`` questions for each table, and write the tables.

    ``tested`` maps the name of each table to its questions.

    Returns:
        Name of the table -> ``counts``, ``accuracy`` and ``steps``; and the ids of the nodes that
        generated new answers.
    """
    asked = {table: rows[: config.evaluation.limit] for table, rows in tested.items()}
    wanted = (question_request(row) for rows in asked.values() for row in rows)
    # Prompts of similar length share a batch, which saves padding.
    requests = sorted({r.id: r for r in wanted}.values(), key=lambda request: len(request.text))
    answer = _answer_by_vllm if config.evaluation.backend == "vllm" else _answer_by_transformers
    completions, nodes = answer(config, model, requests, artifact, on_rows)
    answers = {row.id: row for row in completions}
    split_newlines = config.steps.split_newlines
    scores = {}
    for table, rows in asked.items():
        predictions = [
            with_steps(predict(answers[question_request(row).id], row), row, split_newlines)
            for row in rows
        ]
        artifact.write(table, Prediction.to_table(predictions))
        scores[table] = _scores(predictions)
    discard_stream(artifact, ANSWERS)
    return scores, nodes


def _scores(predictions: Sequence[Prediction]) -> Manifest:
    """Return counts, accuracy and step statistics of at least one prediction."""
    num_correct = count_correct(predictions)
    low, high = wilson_interval(num_correct, len(predictions))
    counts = {
        "questions": len(predictions),
        "correct": num_correct,
        "no_answer": sum(not p.predicted_answer for p in predictions),
        "truncated": sum(p.finish_reason == "length" for p in predictions),
        "tokens": sum(p.num_tokens for p in predictions),
    }
    accuracy = {"value": num_correct / len(predictions), "low": low, "high": high}
    return {
        "counts": counts,
        "accuracy": accuracy,
        "steps": dataclasses.asdict(step_statistics(predictions)),
    }


def _answer_by_vllm(
    config: RunConfig,
    model: str,
    requests: list[GenerationRequest],
    artifact: Artifact,
    on_rows: OnRows,
) -> tuple[list[Completion], frozenset[str]]:
    """Return the answers to the requests, and the ids of the nodes that generated new answers."""
    index = CompletionIndex(artifact.store, parts_folder(artifact, ANSWERS))
    new = generate_missing(
        [requests], index, artifact, lambda *size: _engines(config, model), on_rows
    )
    return index.find([request.id for request in requests]), new.nodes


def _engines(config: RunConfig, model: str) -> ServicePool:
    """Return a pool of vLLM engines that answer greedily with the student's template."""
    evaluation = config.evaluation
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=evaluation.max_new_tokens)
    prompt_builder = PromptBuilder(config.student.template)
    return vllm_pool(
        model, prompt_builder, sampling, dict(evaluation.engine_kwargs), config.resources.evaluate
    )


def _answer_by_transformers(
    config: RunConfig,
    model: str,
    requests: list[GenerationRequest],
    artifact: Artifact,
    on_rows: OnRows,
) -> tuple[list[Completion], frozenset[str]]:
    """Return the answers to the requests, and the ids of the nodes that generated new answers."""
    student = config.student
    resources = config.resources.evaluate
    pool = generator_pool(model, student.template, student.precision, config.evaluation, resources)
    result = stream_rows(artifact, ANSWERS, GenerationRequest.to_table(requests), pool, "id")
    on_rows(len(requests), len(requests))
    return Completion.from_table(result.table), result.nodes
