"""Phase ``evaluate``: greedy answers of a model to the test questions, by vLLM."""

from __future__ import annotations

from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import RunConfig
from kpod_ray.data.accuracy import count_correct, predict, wilson_interval
from kpod_ray.data.prompts import question_text
from kpod_ray.distributed.engine import Sampling, engine_pool
from kpod_ray.distributed.streaming import discard_stream, stream_rows
from kpod_ray.records import Completion, GenerationRequest, Prediction, Question


def evaluate_student(
    config: RunConfig, questions: Artifact, model: str, artifact: Artifact
) -> Manifest:
    """Write ``predictions`` of a model and its accuracy with a 95 % interval.

    Args:
        config: the run; its ``evaluation`` settings and the student's template are used.
        questions: holds the test questions.
        model: a model as in the config, or the folder of a trained student.
        artifact: to be written.
    """
    rows = Question.from_table(questions.read("questions"))
    tested = [row for row in rows if row.split == "test"][: config.evaluation.limit]
    requests = [GenerationRequest(row.id, question_text(row), 0) for row in tested]
    pool = engine_pool(
        model,
        config.student.template,
        [],
        Sampling(temperature=0, top_p=1, max_new_tokens=config.evaluation.max_new_tokens),
        dict(config.evaluation.engine),
        config.resources.evaluate,
    )
    table = GenerationRequest.to_table(requests)
    result = stream_rows(artifact, "answers", table, pool, "id")
    by_id = {row.id: row for row in tested}
    predictions = [predict(c, by_id[c.id]) for c in Completion.from_table(result.table)]
    artifact.write("predictions", Prediction.to_table(predictions))
    discard_stream(artifact, "answers")
    num_correct = count_correct(predictions)
    low, high = wilson_interval(num_correct, len(predictions))
    counts = {
        "questions": len(predictions),
        "correct": num_correct,
        "no_answer": sum(not p.predicted_answer for p in predictions),
        "truncated": sum(p.finish_reason == "length" for p in predictions),
        "tokens": sum(p.num_tokens for p in predictions),
        "resumed": result.num_resumed,
    }
    accuracy = {"value": num_correct / len(predictions), "low": low, "high": high}
    return {"counts": counts, "accuracy": accuracy, "model": model}
