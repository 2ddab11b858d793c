"""What a worker of the weighter's training works with: models and examples, built from a plain job."""

from __future__ import annotations

import torch

from kpod_ray.artifacts import Store
from kpod_ray.data.draws import MaskedSampler, split_examples
from kpod_ray.data.masked import (
    MaskedExample,
    build_masked_example,
    continued_answer,
    decoded_answer,
)
from kpod_ray.distributed.jobs import WeigherJob
from kpod_ray.models.folders import MODEL_CACHE, is_encoder_decoder, model_folder
from kpod_ray.models.predictors import other_predictor, student_predictor
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.models.weighter import KeypointLoss, build_weighter
from kpod_ray.records import Question, Rationale


def build_parts(job: WeigherJob, store: Store) -> tuple[KeypointLoss, MaskedSampler, MaskedSampler]:
    """Return a fresh weighter with its predictor, the examples to train on and those held back."""
    weigher, folder = job.weigher, model_folder(job.model, MODEL_CACHE)
    dtype = torch.bfloat16 if weigher.precision == "bf16" else torch.float32
    student = load_student(folder, dtype).language_model
    weighter = build_weighter(student, weigher.num_heads)
    if weigher.predictor is None:
        answering, predictor = folder, student_predictor(student, dtype)
    else:
        answering = model_folder(weigher.predictor, MODEL_CACHE)
        predictor = other_predictor(answering, student, dtype)
    examples = _examples(job, store, folder, answering)
    padding = pad_id(load_tokenizer(folder))
    training, held_back = split_examples(examples, weigher, job.seed, padding)
    return KeypointLoss(weighter, predictor, weigher), training, held_back


def _examples(job: WeigherJob, store: Store, folder: str, predictor: str) -> list[MaskedExample]:
    """Return the example of every rationale, in the table's order."""
    tokenizer, answering = load_tokenizer(folder), load_tokenizer(predictor)
    name = job.weigher.predictor or job.model
    answer_ids = decoded_answer if is_encoder_decoder(name) else continued_answer
    questions = Question.from_table(store.read_table(job.questions))
    by_id = {question.id: question for question in questions}
    examples = []
    for rationale in Rationale.from_table(store.read_table(job.rationales)):
        question = by_id[rationale.question_id]
        ids = answer_ids(answering, question.answer)
        examples.append(
            build_masked_example(tokenizer, question, rationale.text, job.template, ids)
        )
    return examples
