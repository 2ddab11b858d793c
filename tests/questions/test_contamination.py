"""Training questions that repeat a test question: by hand, and against brute force."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.config import ArithmeticQuestions, FileQuestions
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.contamination import NEAR, contamination_warning, find_contamination
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Question
from tests.conftest import SHARED_DATA
from tests.json_lines import write_lines
from tests.questions.question_files import ids, source

TOM = "Tom has 3 red apples in a big basket and buys 4 green apples. How many apples has Tom?"


def question(text, split, answer="7", choices=(), name=""):
    kind = "choice" if choices else "text"
    return Question(name or f"{split} {text}", text, answer, kind, choices, split, "")


def found(first, second, answers=("7", "7"), choices=((), ())):
    """Return the similarity of a training and a test question; None if they are different ones."""
    pair = zip((first, second), ("train", "test"), answers, choices, strict=True)
    repeats = find_contamination([question(*row) for row in pair])
    return repeats[0].similarity if repeats else None


@pytest.mark.parametrize(
    "other",
    [
        TOM,
        TOM.upper(),
        TOM.replace(" ", "  ").replace(".", "\n"),
        TOM.replace("3", "3.0"),
        TOM.replace("?", " ?"),
        f"\u201c{TOM}\u201d",
    ],
)
def test_the_same_words_are_the_same_question(other):
    assert found(TOM, other) == 1.0
    assert found(TOM, other, answers=("7", "8")) == 1.0  # a wrong label makes no other question


@pytest.mark.parametrize(
    "other",
    [TOM.replace("green", "yellow"), TOM.replace("How many", "In all, how many"), f"So: {TOM}"],
)
def test_some_other_words_are_nearly_the_same_question(other):
    similarity = found(TOM, other)
    assert NEAR <= similarity < 1
    assert found(TOM, other, answers=("", "7")) == similarity  # nothing says that answers differ


@pytest.mark.parametrize(
    "other",
    [
        TOM.replace("4", "5"),  # another number
        TOM.replace("4 green", "4 green, and 2 green"),
        "Tom buys apples.",
        "Anna has 3 blue pens and finds 4 black pens. How many pens has Anna?",
        TOM.replace("3", "4.5").replace("4 g", "3 g"),
    ],
)
def test_other_numbers_or_words_are_another_question(other):
    assert found(TOM, other) is None


def test_another_answer_is_another_question():
    other = TOM.replace("How many apples has", "How many green apples has")
    assert found(TOM, other) is not None
    assert found(TOM, other, answers=("7", "4")) is None


@pytest.mark.parametrize(
    ("first", "second"), [("3 + 4", "3 - 4"), ("3 + 4", "4 + 3"), ("?", "!"), ("", " ")]
)
def test_signs_and_order_count(first, second):
    assert found(first, second) is None


def test_a_text_without_blanks_is_compared_by_characters():
    first = "\u5c0f\u660e\u6709\u4e09\u4e2a\u82f9\u679c\u53c8\u4e70\u4e86\u56db\u4e2a"
    assert found(first, first + "\u3002") == 1.0
    assert NEAR <= found(first, first + "\u5462") < 1


def test_choices_belong_to_the_question_in_any_order():
    text = "Which of these is true?"
    pets = ("cat", "dog", "fish")
    assert found(text, text, ("A", "C"), (pets, pets[::-1])) == 1.0
    assert found(text, text, ("A", "A"), (pets, ("oak", "elm", "ash"))) is None
    longer = f"{text} Think about the animals that people keep at home as their friends."
    assert found(longer, f"Well, {longer}", ("A", "C"), (pets, pets[::-1])) < 1.0
    assert found(longer, f"Well, {longer}", ("A", "A"), (pets, pets[::-1])) is None


def test_a_training_question_is_told_once_with_the_most_similar_test_question():
    texts = [TOM.replace("green", "yellow"), TOM.replace("green apples", "yellow plums"), TOM]
    tests = [question(text, "test", name=f"t{i}") for i, text in enumerate(texts)]
    repeats = find_contamination([question(TOM, "train", name="a"), *tests[:2]])
    assert [(r.train_id, r.test_id) for r in repeats] == [("a", "t0")]
    repeats = find_contamination([*tests, question(TOM, "train", name="a")])
    assert [(r.train_id, r.test_id, r.similarity) for r in repeats] == [("a", "t2", 1.0)]
    assert (repeats[0].question, repeats[0].test_question) == (TOM, TOM)


@pytest.mark.parametrize("splits", [(), ("train",), ("test",)])
def test_without_both_splits_nothing_is_found(splits):
    assert find_contamination([question(TOM, split) for split in splits]) == []


@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8), min_size=1, max_size=8),
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=8), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_all_pairs_are_compared_exactly(train, tests):
    rows = [question(" ".join(words), "train", name=f"a{i}") for i, words in enumerate(train)]
    rows += [question(" ".join(words), "test", name=f"b{i}") for i, words in enumerate(tests)]
    repeats = {r.train_id: r.similarity for r in find_contamination(rows)}
    for i, words in enumerate(train):
        best = max((1.0 if words == test else min(jaccard(words, test), 0.999)) for test in tests)
        assert repeats.get(f"a{i}") == (pytest.approx(best) if best >= NEAR else None)


def jaccard(first, second):
    pairs = [set(itertools.pairwise(words)) or {tuple(words)} for words in (first, second)]
    return len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1])


def test_more_training_questions_than_fit_into_one_product():
    rows = [question(f"What is {i} and {i + 1} and no more?", "train") for i in range(2500)]
    rows += [question(f"What is {i} and {i + 1}, and no more?", "test") for i in (5, 1500, 2499)]
    assert [r.train_id for r in find_contamination(rows)] == [rows[i].id for i in (5, 1500, 2499)]


def test_generated_questions_with_other_numbers_are_different_questions():
    generated = generate_questions(ArithmeticQuestions(num_train=1000, num_test=200), seed=0)
    assert len(find_contamination(generated)) <= 2


def contaminated(tmp_path, **config):
    rows = [{"id": f"a{i}", "question": f"{TOM} {i}?", "answer": i} for i in range(4)]
    tests = [
        {"id": "equal", "question": f"{TOM} 1?", "answer": 1},
        {"id": "near", "question": f"So, {TOM} 3?", "answer": 3},
    ]
    path = write_lines(tmp_path / "train.jsonl", rows)
    test_path = write_lines(tmp_path / "test.jsonl", tests)
    return load_questions(source(path, test_path=test_path, **config), 0)


def test_training_questions_that_repeat_a_test_question_are_kept_or_dropped(tmp_path):
    kept, dropped = contaminated(tmp_path), contaminated(tmp_path, test_duplicates="drop")
    assert ids(kept, "train") == ["a0", "a1", "a2", "a3"]
    assert ids(dropped, "train") == ["a0", "a2"]
    assert ids(kept, "test") == ids(dropped, "test") == ["equal", "near"]
    assert kept.contamination == dropped.contamination
    assert [(r.train_id, r.test_id) for r in kept.contamination] == [
        ("a1", "equal"),
        ("a3", "near"),
    ]


def test_the_warning_says_what_to_do(tmp_path):
    repeats = contaminated(tmp_path).contamination
    config = FileQuestions(source="file", path="-")
    assert contamination_warning([], config) == ""
    assert contamination_warning(repeats, config) == (
        "1 training questions are equal and 1 nearly equal to a test question, such as a1 to equal: "
        "the accuracy may be too high; set questions.test_duplicates=drop to leave them out"
    )
    dropping = config.model_copy(update={"test_duplicates": "drop"})
    assert contamination_warning(repeats, dropping).endswith("they are left out of the training")
    assert "drop" not in contamination_warning(repeats, ArithmeticQuestions())


@pytest.mark.parametrize(
    ("train", "test", "num_equal", "num_near"),
    [
        ("gsm8k/train.jsonl", "gsm8k/test_first_half.jsonl", 0, 0),
        ("asdiv/all.jsonl", "ood/multiarith.jsonl", 60, 0),
        ("asdiv/all.jsonl", "ood/singleeq.jsonl", 55, 31),
        ("asdiv/all.jsonl", "svamp/train.jsonl", 0, 0),
    ],
)
def test_real_data_sets_repeat_what_is_known(train, test, num_equal, num_near):
    paths = [SHARED_DATA / name for name in (train, test)]
    if not all(path.is_file() for path in paths):
        pytest.skip("the data sets aren't on this machine")
    repeats = load_questions(source(paths[0], test_path=str(paths[1])), 0).contamination
    similarities = [repeat.similarity for repeat in repeats]
    assert sum(s == 1 for s in similarities) == num_equal
    assert sum(s < 1 for s in similarities) == num_near
