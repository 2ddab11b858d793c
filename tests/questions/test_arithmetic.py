"""The built-in arithmetic questions."""

import hashlib
import re
import string
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic import MAX_QUESTIONS, generate_questions
from kpod_ray.questions.arithmetic_templates import Templates, load_templates

TEMPLATES = load_templates()
MONEY = TEMPLATES.money
SUM = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
QUESTIONS = generate_questions(ArithmeticQuestions(num_train=1500, num_test=500), seed=3)
GOLDEN_QUESTION = (
    "Peter had a collection of 49 stickers. He got 3 packs of 7 stickers for his birthday. "
    "He put all the stickers into an album with 7 pages, equally many on each. How many "
    "stickers were on each page?"
)
GOLDEN_RATIONALE = (
    "The 3 packs held 3 * 7 = 21 stickers. Adding them, he had 49 + 21 = 70 stickers. Each "
    "page got 70 / 7 = 10 stickers."
)


def sentences(text):
    return re.findall(r"[^.?]+[.?]", text)


def evaluated(left, sign, right):
    left, right = Fraction(left), Fraction(right)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[sign]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(0, 40),
    st.tuples(st.integers(1, 5), st.integers(1, 5)).map(sorted),
    st.integers(0, 2**32),
)
def test_counts_ids_and_splits_are_as_asked(num_train, num_test, steps, seed):
    config = ArithmeticQuestions(
        num_train=num_train, num_test=num_test, min_steps=steps[0], max_steps=steps[1]
    )
    questions = generate_questions(config, seed)
    expected = [(f"arith-train-{i:05d}", "train") for i in range(num_train)]
    expected += [(f"arith-test-{i:05d}", "test") for i in range(num_test)]
    assert [(question.id, question.split) for question in questions] == expected
    allowed = range(steps[0], steps[1] + 1)
    for split in ("train", "test"):
        lengths = [len(SUM.findall(q.reference_rationale)) for q in questions if q.split == split]
        assert set(lengths) <= set(allowed)
        counts = [lengths.count(num_steps) for num_steps in allowed]
        assert max(counts) - min(counts) <= 1


def test_every_sentence_of_a_rationale_has_one_true_sum_and_the_last_is_the_answer():
    for question in QUESTIONS:
        steps = sentences(question.reference_rationale)
        assert "".join(steps) == question.reference_rationale
        sums = [SUM.findall(step) for step in steps]
        assert all(len(found) == 1 for found in sums)
        for ((left, sign, right, result),) in sums:
            assert evaluated(left, sign, right) == int(result)
        assert sums[-1][0][3] == question.answer
        assert question.kind == "number"
        assert not question.choices


def test_a_sum_uses_only_numbers_of_the_question_earlier_results_and_two():
    for question in QUESTIONS:
        known = {"2", *re.findall(r"\d+", question.question)}
        for left, _, right, result in SUM.findall(question.reference_rationale):
            assert {left, right} <= known
            known.add(result)


def test_every_number_of_the_question_is_used():
    for question in QUESTIONS:
        used = {
            number
            for left, _, right, _ in SUM.findall(question.reference_rationale)
            for number in (left, right)
        }
        assert set(re.findall(r"\d+", question.question)) <= used


def test_no_text_occurs_twice_over_both_splits():
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS)


def test_texts_are_whole_sentences_about_numbers_that_need_a_plural():
    for question in QUESTIONS:
        assert question.question.endswith("?")
        for sentence in sentences(question.question) + sentences(question.reference_rationale):
            assert re.fullmatch(r" ?[A-Z][A-Za-z0-9,' =*/+-]+[.?]", sentence), sentence
            assert "  " not in sentence
            assert all(2 <= int(number) <= 999 for number in re.findall(r"\d+", sentence))


def test_nothing_happens_twice_in_a_story():
    for question in QUESTIONS:
        told = [
            re.sub(r"^ ?(then|after that,|later,) |\d+", "", sentence.strip().lower()).strip()
            for sentence in sentences(question.question)
        ]
        assert len(set(told)) == len(told)


def test_steps_are_spread_evenly_and_every_topic_and_operation_occurs():
    counts = Counter(len(SUM.findall(q.reference_rationale)) for q in QUESTIONS)
    assert counts == {num_steps: 400 for num_steps in range(1, 6)}
    text = " ".join(question.question for question in QUESTIONS)
    assert all(any(item in text for item in topic.items) for topic in TEMPLATES.topics)
    signs = Counter(s[1] for q in QUESTIONS for s in SUM.findall(q.reference_rationale))
    assert all(signs[sign] > 300 for sign in "+-*/")


def test_the_same_seed_gives_the_same_questions_and_another_gives_others():
    config = ArithmeticQuestions(num_train=50, num_test=20)
    assert generate_questions(config, 5) == generate_questions(config, 5)
    texts = [{q.question for q in generate_questions(config, seed)} for seed in (5, 6)]
    assert len(texts[0] & texts[1]) < 5


def test_the_questions_of_a_seed_are_those_of_every_machine():
    first = generate_questions(ArithmeticQuestions(num_train=3), seed=0)[2]
    assert first.question == GOLDEN_QUESTION
    assert first.reference_rationale == GOLDEN_RATIONALE
    texts = "\n".join(f"{q.question} {q.reference_rationale}" for q in QUESTIONS)
    assert hashlib.sha256(texts.encode()).hexdigest().startswith("362fa2033ea9794acd96879e")


def test_more_training_questions_leave_the_others_as_they_are():
    few = generate_questions(ArithmeticQuestions(num_train=30, num_test=20), 1)
    many = generate_questions(ArithmeticQuestions(num_train=90, num_test=20), 1)
    assert many[:30] == few[:30]
    assert many[90:] == few[30:]


def test_each_split_has_a_seed_of_its_own():
    config = ArithmeticQuestions(num_train=9, num_test=6)
    questions = generate_questions(config, 0)
    drawn = generate_questions(config.model_copy(update={"train_seed": 5}), 0)
    assert drawn[9:] == questions[9:]
    assert not {q.question for q in drawn[:9]} & {q.question for q in questions}
    both = config.model_copy(update={"train_seed": 5, "test_seed": 0})
    assert generate_questions(both, 7) == drawn


def test_as_many_questions_as_promised_differ_even_with_one_step():
    config = ArithmeticQuestions(num_train=MAX_QUESTIONS - 1, num_test=1, min_steps=1, max_steps=1)
    assert len({question.question for question in generate_questions(config, 0)}) == MAX_QUESTIONS


def test_more_questions_than_can_be_made_are_refused_at_once():
    with pytest.raises(KpodError, match=r"100001 arithmetic questions .* at most 100000"):
        generate_questions(ArithmeticQuestions(num_train=100_000, num_test=1), 0)


def test_every_story_can_be_closed_by_a_question():
    for topic in TEMPLATES.topics:
        assert {event.after for event in topic.events} | {"held"} == {
            *topic.asks,
            *({"money"} if any(event.after == "money" for event in topic.events) else ()),
        }
    assert {event.after for event in MONEY.events} == set(MONEY.asks)


def test_every_template_uses_known_words_and_every_reason_shows_its_sum():
    known = {"name", "he", "his", "him", "items", "b", "d"}
    for topic in TEMPLATES.topics:
        templates = [event.story for event in topic.events + MONEY.events]
        templates += [ask for asks in (topic.asks | MONEY.asks).values() for ask in asks]
        reasons = [text for event in topic.events + MONEY.events for text in event.steps.values()]
        for text in templates + reasons + list(topic.openings):
            fields = {field for _, field, _, _ in string.Formatter().parse(text) if field}
            assert fields <= known | {"n", "sum"}
        assert all(reason.count("{sum}") == 1 for reason in reasons)
        assert all("{n}" in opening for opening in topic.openings)


def changed(**changes):
    """Return the templates with changes in the first event of the first topic."""
    raw = TEMPLATES.model_dump(mode="json")
    raw["topics"][0]["events"][0] |= changes
    return raw


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"story": "{she} left"}, "unknown words: she"),
        ({"steps": {}}, "at least 1 item"),
        ({"steps": {"total ^ b": "{sum}"}}, "match pattern"),
        ({"steps": {"total + b": "nothing"}}, "must use {sum} once"),
        ({"steps": {"total + b": "{sum} or {sum}"}}, "must use {sum} once"),
        ({"b": [9, 2]}, "must rise"),
        ({"b": [1, 2]}, "must rise from 2"),
        ({"after": "nowhere"}, "no closing question asks for nowhere"),
        ({"storry": "{he} left"}, "not permitted"),
    ],
)
def test_broken_templates_are_refused(changes, message):
    assert Templates.model_validate(changed()) == TEMPLATES
    with pytest.raises(ValidationError, match=re.escape(message)):
        Templates.model_validate(changed(**changes))
