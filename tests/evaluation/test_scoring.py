"""Predictions against gold, and the interval of their accuracy against values worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from kpod_ray.evaluation.scoring import count_correct, predict, wilson_interval
from kpod_ray.inference.records import Completion
from kpod_ray.records import Question

NUMBER = Question("q", "How many?", "5", "number", (), "test", "")
CHOICE = Question("q", "Which?", "B", "choice", ("bank", "boat"), "test", "")


@pytest.mark.parametrize(
    ("question", "text", "finish_reason", "answer", "is_correct"),
    [
        (NUMBER, "2 + 3 = 5. The answer is 5.", "stop", "5", True),
        (NUMBER, "The answer is 5.00 dollars.", "stop", "5", True),
        (NUMBER, "The answer is 6.", "stop", "6", False),
        (NUMBER, "I don't know.", "stop", "", False),
        (NUMBER, "", "stop", "", False),
        (NUMBER, "2 + 3 = 5", "length", "5", True),
        (NUMBER, "error 5", "error", "", False),
        (CHOICE, "It floats. So the answer is boat.", "stop", "B", True),
        (CHOICE, "So the answer is (A).", "stop", "A", False),
    ],
)
def test_prediction(question, text, finish_reason, answer, is_correct):
    prediction = predict(Completion("q", text, finish_reason, 8), question)
    assert (prediction.predicted_answer, prediction.is_correct) == (answer, is_correct)
    assert (prediction.text, prediction.finish_reason, prediction.num_tokens) == (
        text,
        finish_reason,
        8,
    )
    assert (prediction.question_id, prediction.gold_answer) == ("q", question.answer)


def test_correct_predictions_are_counted():
    texts = ["5", "6", "It is 5."]
    predictions = [predict(Completion("q", text, "stop", 1), NUMBER) for text in texts]
    assert count_correct(predictions) == 2
    assert count_correct([]) == 0


@pytest.mark.parametrize(
    ("num_correct", "num_questions", "low", "high"),
    [
        # z^2 = 3.8415. Centre (.8 + 3.8415 / 20) / 1.38415 = .71673, spread
        # 1.95996 sqrt(.8 * .2 / 10 + 3.8415 / 400) / 1.38415 = 1.95996 * .160011 / 1.38415 = .22658.
        (8, 10, 0.49016, 0.94331),
        # None: from 0 to z^2 / (n + z^2) = 3.8415 / 13.8415; all: the mirror image.
        (0, 10, 0, 0.27753),
        (10, 10, 0.72247, 1),
        # 1 / (1 + 3.8415) = .20655.
        (0, 1, 0, 0.79345),
        (1, 1, 0.20655, 1),
        # One half is its own centre: spread 1.95996 sqrt(.25 / 100 + 3.8415 / 40000) / 1.038415.
        (50, 100, 0.40383, 0.59617),
    ],
)
def test_wilson_interval_by_hand(num_correct, num_questions, low, high):
    assert wilson_interval(num_correct, num_questions) == pytest.approx((low, high), abs=2e-5)


@settings(deadline=None)
@given(data=st.data(), num_questions=st.integers(1, 10_000))
def test_the_ends_of_the_interval_are_as_far_from_the_share_as_the_score_test_allows(
    data, num_questions
):
    num_correct = data.draw(st.integers(0, num_questions))
    share = num_correct / num_questions
    low, high = wilson_interval(num_correct, num_questions)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for end in (low, high):
        # |share - end| = z sqrt(end (1 - end) / n) defines both ends.
        reach = norm.ppf(0.975) ** 2 * end * (1 - end) / num_questions
        assert (share - end) ** 2 == pytest.approx(reach, abs=1e-9)


@pytest.mark.parametrize(("num_correct", "num_questions"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_raises(num_correct, num_questions):
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(num_correct, num_questions)
