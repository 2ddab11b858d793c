"""Answer columns that hold a whole solution, as GSM8K and MATH come."""

import pytest

from kpod_ray.config import ColumnsConfig
from kpod_ray.questions.gold_answers import read_choice, read_choices, read_gold
from kpod_ray.questions.loading import load_questions
from kpod_ray.questions.solutions import split_solution
from kpod_ray.storage.user_files import FieldError
from tests.conftest import SHARED_DATA
from tests.questions.question_files import error_of, load, source

GSM8K = "He has 48/2 = <<48/2=24>>24 clips.\nHe has 24+24 = <<24+24=48>>48 in all.\n#### 1,048"
MATH = (
    "We have $x = \\frac{6}{2}$, so $x = 3$. Then $\\boxed{x}$ is wrong.\n\nThe answer is "
    "$\\boxed{\\frac{3}{4}}$."
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GSM8K, ("He has 48/2 = 24 clips.\nHe has 24+24 = 48 in all.", "1,048")),
        ("#### 42", ("", "42")),
        ("It is so.\n####42\n", ("It is so.", "42")),
        ("It is so.\r\n#### 42", ("It is so.", "42")),
        (MATH, (MATH, "\\frac{3}{4}")),
        ("\\boxed{42}", ("", "42")),
        ("$\\boxed{42}$.", ("", "42")),
        ("$\\fbox{a}$ \\boxed {\\text{(B)}}", ("$\\fbox{a}$ \\boxed {\\text{(B)}}", "\\text{(B)}")),
        ("\\boxed{\\{1, 2\\}}", ("", "\\{1, 2\\}")),
        ("Thus:\n#### $\\boxed{4}$", ("Thus:", "4")),
        ("42", None),
        (42, None),
        (None, None),
        (["#### 42"], None),
        ("### 42", None),
    ],
)
def test_a_solution_is_split(text, parts):
    assert split_solution({"answer": text}, "answer") == parts


@pytest.mark.parametrize(
    "text",
    ["#### ", "So\n####", "#### Step 1\nSo it is.", "it is #### 42", "a\n#### 4 ## 2",
     "\\boxed{", "\\boxed{}", "so \\boxed{4", "\\boxed{{4}"],
)  # fmt: skip
def test_a_solution_without_its_answer_is_refused(text):
    with pytest.raises(FieldError, match="field 'answer' holds"):
        split_solution({"answer": text}, "answer")


def test_gsm8k_as_it_comes_needs_no_setting(tmp_path):
    (question,) = load(tmp_path, [{"id": "a", "question": "?", "answer": GSM8K}]).questions
    assert (question.answer, question.kind) == ("1048", "number")
    assert question.reference_rationale == "He has 48/2 = 24 clips.\nHe has 24+24 = 48 in all."


def test_solutions_of_math_need_only_the_names_of_the_columns(tmp_path):
    row = {"id": "a", "problem": "?", "solution": "As 6/2 = 3, it is $\\boxed{3}$."}
    columns = ColumnsConfig(question="problem", answer="solution")
    (question,) = load(tmp_path, [row], columns=columns).questions
    assert (question.answer, question.kind) == ("3", "number")
    assert question.reference_rationale == row["solution"]


@pytest.mark.parametrize(
    ("columns", "rationale"), [({}, "Mine."), ({"rationale": "answer"}, "Theirs.")]
)
def test_a_rationale_of_its_own_goes_first(tmp_path, columns, rationale):
    row = {"id": "a", "question": "?", "rationale": "Mine.", "answer": "Theirs.\n#### 4"}
    (question,) = load(tmp_path, [row], columns=ColumnsConfig(**columns)).questions
    assert (question.answer, question.reference_rationale) == ("4", rationale)


def test_a_rationale_in_a_column_of_its_own_loses_the_calculator_marks(tmp_path):
    code = "cout << a >> b; x << y"
    row = {"id": "a", "question": "?", "rationale": f"6/2 = <<6/2=3>>3. {code}", "answer": 10**400}
    (question,) = load(tmp_path, [row]).questions
    assert question.reference_rationale == f"6/2 = 3. {code}"
    assert (question.answer, question.kind) == (str(10**400), "number")


def test_the_last_line_may_name_a_choice(tmp_path):
    row = {"id": "a", "question": "?", "answer": "It barks.\n#### B", "choices": ["cat", "dog"]}
    (question,) = load(tmp_path, [row]).questions
    assert (question.answer, question.reference_rationale) == ("B", "It barks.")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (
            {"answer": "He has 5 eggs. She has 4. So they have 9 eggs."},
            "is a text of 46 characters",
        ),
        ({"answer": "one line of a text\nand another line of it"}, "is a text of 41 characters"),
        ({"answer": "word " * 80}, "is a text of 399 characters"),
        ({"answer": "Cats and dogs", "rationale": "Cats and dogs"}, "is the rationale"),
    ],
)
def test_a_long_text_is_no_gold_answer(tmp_path, row, fault):
    error = error_of(tmp_path, [{"id": "a", "question": "?", "final": 9, **row}])
    assert error.startswith(
        f"questions questions.jsonl line 1: field 'answer' {fault}, no short answer; set "
        "questions.columns.answer to the column of the short answer (there are id, question, final"
    )


@pytest.mark.parametrize(
    "answer",
    ["St. Louis", "Mrs. Hilt", "6:10", "a cat and a dog.", "U.S.A.", "Washington, D.C.",
     "B. A bank", "(c) He has 3.", "Yes, it is", "12 a.m.", "No!", "x", "1. FC Köln",
     "Fig. 3", "the U.S. Army", "Who? Me", "Yahoo! Inc.", "word " * 60],
)  # fmt: skip
def test_short_texts_are_gold_answers(tmp_path, answer):
    row = {"id": "a", "question": "?", "answer": answer, "rationale": "It is so."}
    (question,) = load(tmp_path, [row]).questions
    assert question.answer == answer.strip()


def test_gsm8k_without_a_setting_is_gsm8k_with_the_separator():
    paths = [SHARED_DATA / "gsm8k" / name for name in ("train.jsonl", "test_first_half.jsonl")]
    if not all(path.is_file() for path in paths):
        pytest.skip("GSM8K isn't on this machine")
    config = source(paths[0], test_path=str(paths[1]), columns=ColumnsConfig(answer="solution"))
    plain = load_questions(config, 0)
    assert plain == load_questions(config.model_copy(update={"answer_separator": "####"}), 0)
    assert len(plain.questions) == 7473 + 659
    assert {question.kind for question in plain.questions} == {"number"}


@pytest.mark.parametrize(
    ("text", "number"),
    [("$5", "5"), ("-$5", "-5"), ("$-5", "-5"), ("- $5", None), ("$ -5", "-5"), ("+$5", "5")],
)
def test_one_dollar_sign_is_a_number(text, number):
    assert read_gold({"a": text}, "a") == ((number, "number") if number else (text, "text"))


@pytest.mark.parametrize("text", ["$$5", "$-$5", "-$-5", "$+-5", "--5", "$", "-$", "$-", "5$"])
def test_two_dollar_signs_or_signs_are_text(text):
    assert read_gold({"a": text}, "a") == (text, "text")


@pytest.mark.parametrize(
    ("labels", "answer", "letter"),
    [
        ([1.0, 2.0], 2, "B"),
        ([1.0, 2.0], "2.0", "B"),
        ([1, 2], 2.0, "B"),
        ([" A ", "B\n"], "B", "B"),
        (["1", "2"], 2.0, "B"),
        (["1.0", "2.0"], 2, "B"),
        ([0, 1], 0, "A"),
    ],
)
def test_labels_are_normalised_as_answers_are(labels, answer, letter):
    row = {"choices": {"text": ["cat", "dog"], "label": labels}, "answer": answer}
    assert read_choice(row, "answer", *read_choices(row, "choices")) == letter


@pytest.mark.parametrize(
    ("labels", "fault"),
    [(["A", ["B"]], "must be text, not list"), (["A", None], "is missing"), (["A", " "], "is empty"),
     (["A", "A "], "has two equal labels"), ([1, 1.0], "has two equal labels"),
     ([1, float("nan")], "no finite number"), (["A", "\ud800"], "half a surrogate pair")],
)  # fmt: skip
def test_labels_that_are_no_labels_are_refused(labels, fault):
    row = {"choices": {"text": ["cat", "dog"], "label": labels}}
    with pytest.raises(FieldError, match=f"field 'choices' {fault}|{fault}"):
        read_choices(row, "choices")
