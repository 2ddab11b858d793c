"""The models and the data of one weighter's training, built from a plain job."""

from __future__ import annotations

import dataclasses

import torch

from kpod_ray.models.device import compute_dtype
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.records import Question, Rationale
from kpod_ray.storage.store import Store
from kpod_ray.weighting.batches import MaskedExample, build_masked_example
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import KeypointLoss, build_weighter
from kpod_ray.weighting.other_predictor import other_predictor
from kpod_ray.weighting.predictors import AnswerPredictor, student_predictor
from kpod_ray.weighting.sampler import MaskedSampler, split_examples
from kpod_ray.weighting.validation import WeightingValidation


@dataclasses.dataclass(frozen=True)
class WeighterParts:
    """The models and the data of the training of one weighter."""

    index: int
    """Number of the weighter, from 0 to ``weighting.num_seeds`` - 1."""
    loss: KeypointLoss
    """Holds the weighter and the predictor."""
    training: MaskedSampler
    """Batches of the training set."""
    validation: WeightingValidation
    """The validation set, which is the same for all weighters."""


def build_parts(job: WeightingJob, store: Store, index: int) -> WeighterParts:
    """Build the models and the data of the training of weighter ``index``, on the CPU.

    The call sets torch's global seed, from which the weighter's initial values come. A model on the hub
    is downloaded. The job's table of rationales in the store has at least one row, no empty text, and
    only questions of the table of questions.

    Raises:
        KpodError, OSError, ValueError: As in `load_student` and `load_tokenizer`, for student and
            predictor; ``num_heads`` doesn't divide the width of the student, no token is spelled alike
            in student and predictor, or the template is ``chat`` and the tokenizer has no chat template
            (KpodError); or a table can't be read (OSError).
    """
    weighting = job.weighting
    # Runs with other seeds share no weighter's seed.
    seed = job.seed * weighting.num_seeds + index
    torch.manual_seed(seed)
    dtype = compute_dtype(weighting.precision)
    student = load_student(job.model, dtype).language_model
    tokenizer = load_tokenizer(job.model)
    weighter = build_weighter(student, weighting)
    if weighting.predictor is None:
        predictor = student_predictor(student, dtype)
    else:
        predictor = other_predictor(weighting.predictor, student, tokenizer, dtype)
    loss = KeypointLoss(weighter, predictor, weighting)
    examples = _examples(job, store, predictor)
    training, validation = split_examples(examples, weighting, job.seed, pad_id(tokenizer))
    training = dataclasses.replace(training, seed=seed)
    return WeighterParts(index, loss, training, WeightingValidation(validation, loss))


def _examples(job: WeightingJob, store: Store, predictor: AnswerPredictor) -> list[MaskedExample]:
    """Return the tokenised example of each rationale, in the order of the table."""
    tokenizer = load_tokenizer(job.model)
    answer_tokenizer = load_tokenizer(job.weighting.predictor or job.model)
    questions = Question.from_table(store.read_table(job.questions))
    by_id = {question.id: question for question in questions}
    examples = []
    for rationale in Rationale.from_table(store.read_table(job.rationales)):
        question = by_id[rationale.question_id]
        ids = predictor.answer_ids(answer_tokenizer, question.answer_text())
        examples.append(
            build_masked_example(
                tokenizer,
                question,
                rationale.text,
                job.template,
                ids,
                split_newlines=job.split_newlines,
            )
        )
    return examples
