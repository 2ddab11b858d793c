"""Compare generated answers with gold answers, and compute the interval of an accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binomtest

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.inference.records import Completion
from kpod_ray.records import Prediction, Question


def predict(completion: Completion, question: Question) -> Prediction:
    """Return the prediction of a completion: its extracted answer, compared with the gold answer.

    An error row, or a text without an answer, has an empty predicted answer and is wrong. A text that
    was cut off at the token limit is scored like any other text.

    Args:
        completion: the generated text, or an error row; its id isn't compared with the question.
        question: the question that the text answers, with a gold answer.

    Raises:
        ValueError: The question's kind is none of ``number``, ``choice``, ``boolean`` and ``text``, and
            the completion isn't an error row.
    """
    is_error = completion.finish_reason == "error"  # the text is an error message, no answer
    answer = "" if is_error else extract_answer(completion.text, question.kind, question.choices)
    is_correct = bool(answer) and answers_equal(answer or "", question.answer, question.kind)
    return Prediction(
        question_id=question.id,
        text=completion.text,
        finish_reason=completion.finish_reason,
        num_tokens=completion.num_tokens,
        predicted_answer=answer or "",
        gold_answer=question.answer,
        is_correct=is_correct,
    )


def wilson_interval(num_correct: int, num_questions: int) -> tuple[float, float]:
    """Return the lower and upper end of the 95 % Wilson score interval of an accuracy, in [0, 1].

    Raises:
        ValueError: ``num_questions`` is 0, or ``num_correct`` is negative or over ``num_questions``.
    """
    if not 0 <= num_correct <= num_questions or num_questions == 0:
        raise ValueError(f"{num_correct} of {num_questions} is no share")
    interval = binomtest(num_correct, num_questions).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def count_correct(predictions: Sequence[Prediction]) -> int:
    """Return the number of predictions whose ``is_correct`` is true; 0 without predictions."""
    return sum(prediction.is_correct for prediction in predictions)
