"""Judge predictions, and say how sure an accuracy is."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import binomtest

from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.records import Completion, Prediction, Question


def predict(completion: Completion, question: Question) -> Prediction:
    """Extract the answer of a generated text and compare it with gold.

    A text cut off at the token limit counts with the answer it has reached, like any other.
    """
    failed = completion.finish_reason == "error"
    answer = "" if failed else extract_answer(completion.text, question.kind, question.choices)
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
    """Return the 95 % Wilson score interval of a share of correct answers.

    Raises:
        ValueError: There are no questions, or more correct ones than questions.
    """
    if not 0 <= num_correct <= num_questions or num_questions == 0:
        raise ValueError(f"{num_correct} of {num_questions} is no share")
    interval = binomtest(num_correct, num_questions).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def count_correct(predictions: Sequence[Prediction]) -> int:
    """Return the number of correct predictions."""
    return sum(prediction.is_correct for prediction in predictions)
