"""Phase ``evaluate``: greedy answers of a model to the test questions, by vLLM or transformers."""

from __future__ import annotations

from kpod_ray.artifacts import Artifact, Manifest
from kpod_ray.config import RunConfig
from kpod_ray.data.accuracy import count_correct, predict, wilson_interval
from kpod_ray.data.prompts import question_text
from kpod_ray.distributed.engine import Sampling, engine_pool
from kpod_ray.distributed.generator import generator_pool
from kpod_ray.distributed.streaming import ActorPool, discard_stream, stream_rows
from kpod_ray.errors import KpodError
from kpod_ray.models.folders import is_encoder_decoder
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
    table = GenerationRequest.to_table(requests)
    result = stream_rows(artifact, "answers", table, _pool(config, model), "id")
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


def check_backend(config: RunConfig) -> None:
    """Check that the chosen backend can generate with the student.

    Raises:
        KpodError: The student is an encoder-decoder model, and the backend vLLM.
    """
    if config.evaluation.backend == "vllm" and is_encoder_decoder(config.student.model):
        raise KpodError(
            f"model {config.student.model}: vLLM takes no encoder-decoder model; "
            "set evaluation.backend=transformers"
        )


def _pool(config: RunConfig, model: str) -> ActorPool:
    evaluation, student, resources = config.evaluation, config.student, config.resources.evaluate
    if evaluation.backend == "transformers":
        return generator_pool(model, student.template, student.precision, evaluation, resources)
    sampling = Sampling(temperature=0, top_p=1, max_new_tokens=evaluation.max_new_tokens)
    return engine_pool(model, student.template, [], sampling, dict(evaluation.engine), resources)
