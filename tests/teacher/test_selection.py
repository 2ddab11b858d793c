"""Which of the correct rationales go on, and what samples agree on where there is no gold."""

import pytest

from kpod_ray.config import FileTeacher
from kpod_ray.errors import KpodError
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.samples import Sample
from tests.teacher.filtered_samples import (
    CHOICES,
    QUESTIONS,
    REFERENCE,
    SETTINGS,
    WITH_REFERENCES,
    WRONG,
    question,
    sample,
    verdicts,
)


@pytest.mark.parametrize(
    ("choice", "kept"), [("first", 0), ("shortest", 1), ("longest", 2), ("most_likely", 1)]
)
def test_the_choice_of_one_rationale(choice, kept):
    found, _ = verdicts(CHOICES, selection=choice, logprobs=[-9.0, -2.0, None])
    assert found == ["kept" if i == kept else "surplus" for i in range(3)]


@pytest.mark.parametrize("choice", ["first", "shortest", "longest", "most_likely", "most_diverse"])
@pytest.mark.parametrize("num_kept", [1, 2, 3, 5])
def test_several_may_go_on_each_with_a_question_of_its_own(choice, num_kept):
    names, found = verdicts(CHOICES, selection=choice, num_kept=num_kept)
    kept = [row for row in found.rows if row.verdict == "kept"]
    assert len(kept) == min(num_kept, 3)
    assert names.count("surplus") == 3 - len(kept)
    assert kept[0].question_id == "number"
    assert [row.question_id for row in kept[1:]] == [f"number#{r.sample_index}" for r in kept[1:]]
    assert [q.id for q in found.questions] == [row.question_id for row in kept]
    assert {(q.question, q.answer) for q in found.questions} == {("How many?", "5")}
    assert [row.id for row in found.rows] == ["number/0", "number/1", "number/2"]


def test_an_id_like_that_of_a_further_sample_is_refused_only_where_there_may_be_some():
    one, several = (SETTINGS.model_copy(update={"num_kept": num}) for num in (1, 2))
    assert filter_samples(question("q#1"), [], one, "teacher", split_newlines=True).rows == ()
    assert filter_samples(question("q#1a"), [], several, "teacher", split_newlines=True).rows == ()
    with pytest.raises(KpodError, match="question id q#1: with"):
        filter_samples(question("q#1"), [], several, "teacher", split_newlines=True)


def test_the_most_diverse_two_are_those_that_share_least():
    texts = [
        "2 red balls and 3 blue balls are 5.",
        "2 red balls and 3 green balls are 5.",
        "It is 5.",
    ]
    assert verdicts(texts, selection="most_diverse", num_kept=2)[0] == ["kept", "surplus", "kept"]


OPEN = question("open", answer="")


@pytest.mark.parametrize(
    ("answers", "share", "expected", "answer"),
    [
        ("5 5 6", 0.6, ["kept", "surplus", "minority"], "5"),
        ("6 5 5.0", 0.6, ["minority", "kept", "surplus"], "5"),
        ("5 5 6", 0.7, ["minority"] * 3, None),
        ("5 6", 0.5, ["kept", "minority"], "5"),
        ("5", 1.0, ["kept"], "5"),
        ("5 5", None, ["minority"] * 2, None),
    ],
)
def test_samples_agree_on_an_answer_where_there_is_no_gold(answers, share, expected, answer):
    texts = [f"Way {i} gives {a}." for i, a in enumerate(answers.split())]
    found, result = verdicts(texts, OPEN, filters={"self_consistency": share})
    assert found == expected
    assert [q.answer for q in result.questions] == ([answer] if answer else [])


def test_samples_without_an_answer_do_not_vote():
    texts = ["Way 1 gives 5.", "I don't know.", "No idea at all."]
    found, _ = verdicts(texts, OPEN, filters={"self_consistency": 1.0})
    assert found == ["kept", "no_answer", "no_answer"]


def test_an_agreed_answer_is_filled_into_every_copy_and_no_reference_takes_its_place():
    open_question = question("open", answer="", reference=REFERENCE)
    texts = ["Way 1 gives 1/2.", "Way 2 gives 0.5.", "Way 3 gives 7."]
    filters = {"self_consistency": 0.5}
    names, found = verdicts(texts, open_question, filters=filters, num_kept=2, fallback="reference")
    assert names == ["kept", "kept", "minority"]
    copies = [(q.id, q.answer) for q in found.questions]
    assert copies == [("open", "0.5"), ("open#1", "0.5")]
    assert open_question.answer == ""
    for other in ({}, {**filters, "max_tokens": 1}):
        names, found = verdicts(texts, open_question, fallback="reference", filters=other)
        assert len(names) == 3
        assert not found.questions


def test_the_question_of_a_reference_is_the_question_itself():
    own = question("a", reference=REFERENCE)
    found = filter_samples(own, [sample(WRONG, "a")], WITH_REFERENCES, "t", split_newlines=True)
    assert [row.verdict for row in found.rows] == ["wrong", "reference"]
    assert found.questions == (own,)


@pytest.mark.parametrize(
    ("logprobs", "order"),
    [
        ([(-10.0, 20), (-6.0, 6), (-0.1, 0)], [0, 1, 2]),
        ([(-10.0, 10), (-6.0, 12), (None, 9)], [1, 0, 2]),
        ([(None, 9), (float("nan"), 9), (-90.0, 9)], [2, 0, 1]),
        ([(-3.0, 3), (-9.0, 9), (-1.0, 1)], [0, 1, 2]),
        ([(float("-inf"), 3), (None, 9), (-1.0, 1)], [2, 0, 1]),
    ],
    ids=["mean, not sum", "unknown comes last", "no number is unknown", "ties", "impossible"],
)
def test_the_most_likely_by_mean_log_probability_of_a_token(logprobs, order):
    samples = [
        Sample("number", i, text, "stop", num_tokens, "", logprob)
        for i, (text, (logprob, num_tokens)) in enumerate(zip(CHOICES, logprobs, strict=True))
    ]
    for num_kept in (1, 2, 3):
        teacher = FileTeacher(kind="file", path="-", selection="most_likely", num_kept=num_kept)
        found = filter_samples(QUESTIONS["number"], samples, teacher, "t", split_newlines=True)
        kept = [row.sample_index for row in found.rows if row.verdict == "kept"]
        assert kept == sorted(order[:num_kept])
