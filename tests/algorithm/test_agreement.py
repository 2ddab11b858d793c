import pytest

from kpod_ray.algorithm.agreement import majority_answer


@pytest.mark.parametrize(
    ("answers", "kind", "share", "expected"),
    [
        (["5", "6", "5"], "number", 0.5, "5"),
        (["0.5", "3", "1/2"], "number", 0.6, "0.5"),
        (["5", "6", "5"], "number", 0.7, None),
        (["5", "6"], "number", 0.5, "5"),
        (["6", "5", "5", "6"], "number", 0.5, "6"),
        (["B", "B", "A"], "choice", 0.6, "B"),
        (["yes"], "boolean", 1.0, "yes"),
        ([], "number", 0.1, None),
    ],
)
def test_the_answer_given_most_often_when_enough_agree(answers, kind, share, expected):
    assert majority_answer(answers, kind, share) == expected
