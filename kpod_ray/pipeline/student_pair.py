"""Ask the untouched and the distilled student of a run a question, in this process and without Ray."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from kpod_ray.data.prompts import question_text
from kpod_ray.evaluation.scoring import predict
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.transformers_generator import RequestGenerator, load_generator
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.pipeline.trained_student import trained_student
from kpod_ray.records import Prediction, Question


@dataclasses.dataclass(frozen=True)
class StudentPair:
    """Both students of a run, loaded, with the prompts and the stop rule of phase ``evaluate``."""

    untouched: RequestGenerator
    distilled: RequestGenerator

    def answer(self, question: Question) -> tuple[Prediction, Prediction]:
        """Return the prediction of the untouched and of the distilled student.

        Without a gold answer, a prediction is wrong. A prompt that is too long for the model gives an
        error row (`predict`).

        Raises:
            KpodError: The template is ``chat``, and the tokenizer has no chat template.
        """
        request = question_request(question)
        untouched, distilled = (
            predict(generator.complete([request], 1)[0], question)
            for generator in (self.untouched, self.distilled)
        )
        return untouched, distilled


def load_pair(run: FinishedRun, temperature: float) -> StudentPair:
    """Load the untouched and the distilled student of a run, onto the GPU of this process if any.

    A student in an object store or on the hub is downloaded once. ``temperature`` is as in
    `TextGenerator`; 0 is greedy, as in phase ``evaluate``.

    Raises:
        KpodError: Phase ``train`` isn't finished, as in `trained_student`, `check_model` and
            `load_generator`.
        OSError: As in `load_generator`.
        ValueError: As in `load_generator`.
    """
    student = run.config.student
    names = (student.model, trained_student(run.finished("train"), student.model))
    for name in names:
        check_model(name, ModelUse("student", student.template))
    max_new_tokens = run.config.evaluation.max_new_tokens
    untouched, distilled = (
        load_generator(name, student.template, student.precision, max_new_tokens, temperature)
        for name in names
    )
    return StudentPair(untouched, distilled)


def question_of(text: str, questions: Sequence[Question]) -> Question:
    """Return the run's question with a text, or a new question without a gold answer.

    The texts are compared without differences of white space, with and without the choices; of two equal
    questions, a test question takes precedence. A new question has an empty id and no choices, and its
    kind is the most frequent one of the run's questions.

    Args:
        text: what the user asks, not blank.
        questions: all questions of the run, at least one.
    """
    wanted = text.split()
    tests_first = sorted(questions, key=lambda question: question.split != "test")
    for question in tests_first:
        if wanted in (question.question.split(), question_text(question).split()):
            return question
    kind = Counter(question.kind for question in questions).most_common(1)[0][0]
    return Question("", text.strip(), "", kind, (), "test", "")
