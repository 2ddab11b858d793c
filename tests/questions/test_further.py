"""Further test sets: which questions are asked, by hand, by brute force, and on real data."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.contamination import find_contamination
from kpod_ray.questions.further import load_further_set
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Question
from tests.conftest import SHARED_DATA
from tests.json_lines import write_lines
from tests.questions.question_files import source
from tests.questions.test_contamination import TOM, question

TRAINING = [
    question(TOM, "train", name="tom"),
    question("Who counts?", "train", name="who"),
    question("What is 8 + 9?", "test", name="asked already"),
]


def row(name, text, answer="7", **further):
    return {"id": name, "question": text, "answer": answer, **further}


def loaded(tmp_path, rows, training=TRAINING, **config):
    path = write_lines(tmp_path / "set.jsonl", rows)
    return load_further_set("mine", source(path, **config), 0, training)


ROWS = [
    row("equal", TOM.upper()),
    row("near", f"So, {TOM}"),
    row("other number", TOM.replace("4", "5"), "8"),
    row("other answer", f"So, {TOM}", "9"),
    row("first", "What is 8 + 9?", "17"),
    row("again", "what is 8  + 9", "17"),
    row("and again", "What is 8 + 9?", "18"),
]


def test_what_repeats_a_training_question_or_the_set_is_left_out_and_counted(tmp_path):
    cleaned = loaded(tmp_path, ROWS)
    # A test question of the run is no training question.
    assert [q.id for q in cleaned.questions] == ["first"]
    assert {q.split for q in cleaned.questions} == {"test"}
    assert cleaned.num_repeats == 3  # the words of "near" and of "other answer" are equal
    told = [(r.train_id, r.test_id, r.similarity == 1) for r in cleaned.contamination]
    assert told == [("tom", "equal", True), ("tom", "near", False), ("tom", "other number", True)]
    assert cleaned.contamination[0].question == TOM
    assert cleaned.contamination[0].test_question == TOM.upper()


def test_a_set_is_the_test_questions_of_its_source_or_else_all_of_it(tmp_path):
    rows = [row("a", "What is 1 + 1?"), row("b", "What is 2 + 2?", split="test")]
    assert [q.id for q in loaded(tmp_path, rows).questions] == ["b"]
    assert [q.id for q in loaded(tmp_path, rows[:1]).questions] == ["a"]
    assert [q.id for q in loaded(tmp_path, rows[1:]).questions] == ["b"]
    drawn = loaded(tmp_path, [row(f"q{i}", f"What is {i}?") for i in range(40)], test_fraction=0.5)
    assert 10 < len(drawn.questions) < 30


def test_numbers_and_answers_count_in_generated_questions_alone(tmp_path):
    config = ArithmeticQuestions(num_train=1, num_test=5, min_steps=2)
    training = [question("Mia has 3 pears. " + TOM, "train", name="mia")]
    other = row("mia, too", "Mia has 9 pears. " + TOM.replace("4", "5"), "100")
    cleaned = loaded(tmp_path, [other, row("b", "Who counts 8 of them?")], training)
    assert [q.id for q in cleaned.questions] == ["b"]
    generated = load_questions(config, 3).questions
    changed = [
        dataclasses.replace(
            q, question=q.question.replace("2", "7").replace("3", "8"), split="train"
        )
        for q in generated
    ]
    assert len(load_further_set("longer", config, 3, changed).questions) == 5


def test_generated_questions_can_be_a_set():
    config = ArithmeticQuestions(num_train=1, num_test=5, min_steps=4)
    cleaned = load_further_set("longer", config, 3, TRAINING)
    assert [q.id for q in cleaned.questions] == [f"arith-test-{i:05}" for i in range(5)]
    everything = load_questions(config, 3).questions
    as_training = [dataclasses.replace(q, split="train") for q in everything]
    with pytest.raises(
        KpodError, match=r"also\.longer: no question is left of 5, of which 5 repeat"
    ):
        load_further_set("longer", config, 3, as_training)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("a", TOM)], "no question is left of 1, of which 1 repeat a training question"),
        ([], "no question is left of 0"),
        ([row("a", "Why?", None)], "line 1: field 'answer'"),
        ([row("a", "Why?", ["7", "8"])], "line 1: field 'answer'"),
        ([row("a", "Why?"), row("a", "Where?")], "id 'a' was already used at line 1"),
    ],
)
def test_a_set_that_cannot_be_asked_is_named_in_one_line(tmp_path, rows, words):
    with pytest.raises(KpodError) as caught:
        loaded(tmp_path, rows)
    assert str(caught.value).startswith("evaluation.also.mine: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named_with_its_set(tmp_path):
    with pytest.raises(KpodError, match=r"^evaluation\.also\.mine: .*gone\.jsonl"):
        load_further_set("mine", source(tmp_path / "gone.jsonl"), 0, TRAINING)


WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=7), st.lists(WORDS, max_size=7))
@settings(max_examples=60, deadline=None)
def test_every_pair_is_compared(tmp_path_factory, asked, train):
    training = [question(" ".join(w), "train", name=f"t{i}") for i, w in enumerate(train)]
    rows = [row(f"q{i}", " ".join(words)) for i, words in enumerate(asked)]
    expected = []
    for at, words in enumerate(asked):
        tested = Question(f"q{at}", " ".join(words), "7", "number", (), "test", "")
        is_near = any(find_contamination([one, tested]) for one in training)
        if words not in asked[:at] and not is_near:
            expected.append(f"q{at}")
    folder = tmp_path_factory.mktemp("sets")
    if not expected:
        with pytest.raises(KpodError, match="no question is left"):
            loaded(folder, rows, training)
    else:
        assert [q.id for q in loaded(folder, rows, training).questions] == expected


@pytest.mark.parametrize(
    ("train", "name", "counts"),
    [
        ("svamp/train", "asdiv/all", (2281, 23, 1)),
        ("svamp/train", "ood/addsub", (392, 3, 0)),
        ("svamp/train", "ood/multiarith", (580, 0, 20)),
        ("svamp/train", "ood/singleeq", (507, 0, 1)),
        ("asdiv/all", "ood/multiarith", (283, 297, 20)),
        ("asdiv/all", "ood/singleeq", (405, 102, 1)),
    ],
)
def test_real_sets_lose_what_is_known(train, name, counts):
    """Questions asked, left out for a training question, and left out as repeats."""
    paths = [SHARED_DATA / f"{file}.jsonl" for file in (train, name)]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{paths[0]} or {paths[1]} isn't on this machine")
    training = load_questions(source(paths[0]), 0).questions
    cleaned = load_further_set("set", source(paths[1]), 0, training)
    found = (len(cleaned.questions), len(cleaned.contamination), cleaned.num_repeats)
    assert found == counts
    assert sum(found) == len(paths[1].read_text().splitlines())
