"""The answer that most samples agree on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kpod_ray.answers.extraction import answers_equal
from kpod_ray.teacher.sample_comparison import majority_answer


@pytest.mark.parametrize(
    ("answers", "kind", "share", "expected"),
    [
        (["5", "6", "5"], "number", 0.5, "5"),
        (["0.5", "3", "1/2"], "number", 0.6, "0.5"),
        (["3", "1/2", "0.5"], "number", 0.6, "1/2"),
        (["0.333333", "1/3", "0.33"], "number", 0.6, "0.333333"),
        (["5", "6", "5"], "number", 0.7, None),
        (["5", "6"], "number", 0.5, "5"),
        (["6", "5", "5", "6"], "number", 0.5, "6"),
        (["B", "B", "A"], "choice", 0.6, "B"),
        (["yes"], "boolean", 1.0, "yes"),
        (["Paris", "Rome", " paris."], "text", 0.6, "Paris"),
        ([], "number", 0.1, None),
    ],
)
def test_the_answer_given_most_often_when_enough_agree(answers, kind, share, expected):
    assert majority_answer(answers, kind, share) == expected


@given(
    st.lists(st.sampled_from(["1/2", "0.5", "2", "2.0", "3", "7"]), max_size=9),
    st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]),
)
def test_it_is_what_counting_every_pair_gives(answers, share):
    votes = [sum(answers_equal(a, b, "number") for b in answers) for a in answers]
    most = max(votes, default=0)
    enough = most and most >= share * len(answers)
    assert majority_answer(answers, "number", share) == (
        answers[votes.index(most)] if enough else None
    )
