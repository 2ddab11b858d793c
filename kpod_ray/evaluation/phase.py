"""Phase ``evaluate``: generate greedy answers to the test questions and score the answers.

The backend is vLLM or transformers (``evaluation.backend``). Both store finished answers at once, so a
repeated evaluation generates only the missing answers.
"""

from __future__ import annotations

import dataclasses

from kpod_ray.cluster.actor_pool import discard_stream, parts_folder, stream_rows
from kpod_ray.cluster.placement import described
from kpod_ray.config import RunConfig
from kpod_ray.data.prompts import PromptBuilder
from kpod_ray.evaluation.scoring import count_correct, predict, wilson_interval
from kpod_ray.evaluation.steps import step_statistics, with_steps
from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.missing import OnRows, generate_missing
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.service import Sampling, ServicePool
from kpod_ray.inference.transformers_generator import generator_pool
from kpod_ray.inference.vllm_engine import vllm_pool
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
    tested = [row for row in rows if row.split == "test"][: config.evaluation.limit]
    check_test_questions(len(tested))
    requests = [question_request(row) for row in tested]
    # Prompts of similar length share a batch, which saves padding.
    requests.sort(key=lambda request: len(request.text))
    answer = _answer_by_vllm if config.evaluation.backend == "vllm" else _answer_by_transformers
    completions, nodes = answer(config, model, requests, artifact, on_rows)
    answers = {row.id: row for row in completions}
    split_newlines = config.steps.split_newlines
    predictions = [
        with_steps(predict(answers[question_request(row).id], row), row, split_newlines)
        for row in tested
    ]
    artifact.write("predictions", Prediction.to_table(predictions))
    discard_stream(artifact, ANSWERS)
    return {**_scores(predictions), "model": model, "nodes": described(nodes)}


def _scores(predictions: list[Prediction]) -> Manifest:
    """Return the manifest's ``counts``, ``accuracy`` and ``steps`` of at least one prediction."""
    num_correct = count_correct(predictions)
    low, high = wilson_interval(num_correct, len(predictions))
    return {
        "counts": {
            "questions": len(predictions),
            "correct": num_correct,
            "no_answer": sum(not p.predicted_answer for p in predictions),
            "truncated": sum(p.finish_reason == "length" for p in predictions),
            "tokens": sum(p.num_tokens for p in predictions),
        },
        "accuracy": {"value": num_correct / len(predictions), "low": low, "high": high},
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
