"""The built-in questions with verbose rationales."""

import hashlib
import itertools
import re
from collections import Counter
from fractions import Fraction

import pytest
from pydantic import ValidationError

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import ArithmeticQuestions
from kpod_ray.data.token_kinds import KEYPOINT, token_kinds
from kpod_ray.questions.arithmetic import MAX_QUESTIONS, generate_questions
from kpod_ray.questions.arithmetic_verbose import Templates, is_reserved, load_verbose_templates
from kpod_ray.questions.contamination import find_contamination

TEMPLATES = load_verbose_templates()
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
TOKEN = re.compile(r"\d|[A-Za-z]+|[^\sA-Za-z\d]")
STEPS = range(2, 9)


def made(seed=3, **settings):
    settings = {"num_train": 700, "num_test": 140, "min_steps": 2, "max_steps": 8} | settings
    return generate_questions(ArithmeticQuestions(style="verbose", **settings), seed)


QUESTIONS = made()


def steps_of(question):
    text = question.reference_rationale
    return [text[a:b] for a, b in split_steps(text, split_newlines=True)]


def kinds_of(text):
    spans = [match.span() for match in TOKEN.finditer(text)]
    return token_kinds(text, *zip(*spans, strict=True))


def evaluated(left, sign, right):
    left, right = Fraction(left), Fraction(right)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right}[sign]


def test_steps_are_spread_evenly_and_each_is_a_sentence_with_a_true_equation():
    counts = Counter(len(steps_of(question)) for question in QUESTIONS)
    assert counts == {num_steps: 120 for num_steps in STEPS}
    for question in QUESTIONS:
        equations = [EQUATION.findall(step) for step in steps_of(question)]
        assert all(len(found) == 1 for found in equations)
        for ((left, sign, right, result),) in equations:
            assert evaluated(left, sign, right) == int(result)
            assert 2 <= int(result) <= 20
        for (before,), (after,) in itertools.pairwise(equations):
            assert before[3] == after[0]
        assert equations[-1][0][3] == question.answer
        assert question.kind == "number"


def test_every_number_is_the_questions_or_an_earlier_result_in_the_order_of_the_question():
    for question in QUESTIONS:
        equations = EQUATION.findall(question.reference_rationale)
        in_rationale = [equations[0][0], *(right for _, _, right, _ in equations)]
        assert re.findall(r"\d+", question.question) == in_rationale


def test_a_step_has_8_to_15_filler_tokens():
    for question in QUESTIONS:
        for step in steps_of(question):
            tokens = TOKEN.findall(EQUATION.sub("", step))
            words = [token for token in tokens if token.isalpha()]
            named = [word for word in words if word in TEMPLATES.names]
            counted = [word for word in words if word in TEMPLATES.items]
            assert (len(named), len(counted)) == (1, 1)
            assert 8 <= len(words) - 2 <= 15


def test_keypoints_are_a_quarter_of_the_tokens_and_all_stand_in_the_equations():
    kinds = [kinds_of(question.reference_rationale) for question in QUESTIONS]
    num_keypoints = sum((kind == KEYPOINT).sum() for kind in kinds)
    assert 0.22 < num_keypoints / sum(map(len, kinds)) < 0.28
    for question in QUESTIONS:
        assert not (kinds_of(EQUATION.sub("", question.reference_rationale)) == KEYPOINT).any()


def test_phrasings_are_many_and_every_one_occurs():
    phrasings = {
        re.sub(rf"\d+ . \d+ = \d+|\b(?:{'|'.join(TEMPLATES.names + TEMPLATES.items)})\b", "", step)
        for question in QUESTIONS
        for step in steps_of(question)
    }
    assert len(phrasings) > 2000
    text = " ".join(f"{q.question} {q.reference_rationale}" for q in QUESTIONS).lower()
    for phrase in TEMPLATES.first + TEMPLATES.later + TEMPLATES.leads + TEMPLATES.tails:
        assert max(re.split(r"\{\w+\}", phrase), key=len).strip() in text
    signs = Counter(
        sign for q in QUESTIONS for _, sign, _, _ in EQUATION.findall(q.reference_rationale)
    )
    assert min(signs.values()) > 400
    assert max(Counter(question.answer for question in QUESTIONS).values()) < len(QUESTIONS) / 8


def test_no_question_is_reserved_for_the_built_in_models_whatever_the_seed():
    for seed in range(5):
        assert not any(is_reserved(question.question) for question in made(seed=seed))
    texts = [f"text {i}" for i in range(4000)]
    assert 0.22 < sum(map(is_reserved, texts)) / len(texts) < 0.28


def test_no_text_occurs_twice_and_no_training_question_repeats_a_test_question():
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS)
    assert find_contamination(QUESTIONS) == []


def test_questions_follow_from_the_seed_and_test_questions_not_from_the_training_questions():
    assert made() == QUESTIONS
    assert made(num_train=70)[70:] == QUESTIONS[700:]
    assert not {q.question for q in made(seed=4)} & {q.question for q in QUESTIONS}
    texts = "\n".join(f"{q.question} {q.reference_rationale}" for q in QUESTIONS)
    assert hashlib.sha256(texts.encode()).hexdigest()[:24] == "049e30d7e67d7bd63f8e50db"


@pytest.mark.slow
def test_as_many_questions_as_promised_differ_even_with_one_step():
    questions = made(num_train=MAX_QUESTIONS - 1, num_test=1, min_steps=1, max_steps=1)
    assert len({question.question for question in questions}) == MAX_QUESTIONS


def test_long_chains_need_the_verbose_style():
    assert ArithmeticQuestions(style="verbose", max_steps=8).max_steps == 8
    with pytest.raises(ValidationError, match="max_steps over 5 needs style: verbose"):
        ArithmeticQuestions(max_steps=6)
    with pytest.raises(ValidationError, match="less than or equal to 8"):
        ArithmeticQuestions(style="verbose", max_steps=9)
    with pytest.raises(ValidationError, match="'terse' or 'verbose'"):
        ArithmeticQuestions(style="wordy")


def test_a_limit_of_the_results_that_the_verbose_style_would_ignore_is_refused():
    assert ArithmeticQuestions(largest_result=50).largest_result == 50
    with pytest.raises(ValidationError, match="largest_result is for style: terse"):
        ArithmeticQuestions(style="verbose", largest_result=50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"openings": ["{name} has apples"]}, "must use {n} once"),
        ({"leads": ["now we can see"]}, "must use {name} once"),
        ({"tails": ["at last"]}, "has 2 words, 3 to 5 are expected"),
        ({"first": ["a far too long way to begin"]}, "has 7 words, 3 to 5 are expected"),
        ({"asks": ["how many does {who} have?"]}, "unknown words: who"),
        (
            {"events": {"^": TEMPLATES.events["+"].model_dump()}},
            "Input should be '+', '-', '*' or '/'",
        ),
        ({"names": []}, "at least 1 item"),
        ({"more": ["text"]}, "not permitted"),
    ],
)
def test_broken_templates_are_refused(changes, message):
    raw = TEMPLATES.model_dump()
    assert Templates.model_validate(raw) == TEMPLATES
    with pytest.raises(ValidationError, match=re.escape(message)):
        Templates.model_validate(raw | changes)
