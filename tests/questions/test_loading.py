"""Questions of files and of the built-in generator, and their splits."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.config import ArithmeticQuestions, ColumnsConfig, HubQuestions
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.loading import LoadedQuestions, content_hash, load_questions
from kpod_ray.questions.splits import in_test_split, in_validation_set
from kpod_ray.records import Question
from tests.json_lines import write_lines
from tests.questions.question_files import error_of, ids, load, rows_of, source


def test_a_row_becomes_a_question(tmp_path):
    row = {"id": 7, "question": " 2 + 2? ", "answer": "4.0", "rationale": " 2 + 2 = 4. ", "x": 1}
    expected = Question("7", "2 + 2?", "4", "number", (), "train", "2 + 2 = 4.")
    assert load(tmp_path, [row]) == LoadedQuestions([expected], [])


def test_columns_can_have_other_names(tmp_path):
    row = {"key": "a", "ask": "Which?", "gold": "dog", "options": ["cat", "dog"], "part": "train"}
    columns = ColumnsConfig(
        id="key", question="ask", answer="gold", choices="options", split="part", rationale="why"
    )
    expected = Question("a", "Which?", "B", "choice", ("cat", "dog"), "train", "")
    assert load(tmp_path, [row], columns=columns).questions == [expected]


def test_the_text_before_the_separator_is_the_reference_rationale(tmp_path):
    row = {"id": "a", "question": "?", "answer": "2 * 3 = <<2*3=6>>6.\n#### 6,000"}
    (question,) = load(tmp_path, [row], answer_separator="####").questions
    assert (question.answer, question.kind) == ("6000", "number")
    assert question.reference_rationale == "2 * 3 = 6."


def test_parquet_and_json_lines_give_the_same_questions(tmp_path):
    rows = [{**row, "answer": "A", "choices": ["x", "y"], "split": "test"} for row in rows_of(5)]
    rows[0]["split"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "q.parquet")
    from_parquet = load_questions(source(tmp_path / "q.parquet"), 0)
    assert from_parquet == load(tmp_path, rows)
    assert len(ids(from_parquet, "test")) == 4


def test_questions_survive_their_arrow_table(tmp_path):
    loaded = load(tmp_path, [*rows_of(3), {**rows_of(9)[8], "choices": ["a", "9"]}])
    assert Question.from_table(Question.to_table(loaded.questions)) == loaded.questions


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"id": "x", "question": "?", "answer": ', "not JSON"),
        ({"id": "x", "question": "?"}, "field 'answer' is missing"),
        ({"id": "x", "question": "?", "answer": ""}, "field 'answer' is empty"),
        ({"id": "x", "answer": "1"}, "field 'question' is missing"),
        ({"id": "x", "question": "\n", "answer": "1"}, "field 'question' is empty"),
        ({"id": "x", "question": ["?"], "answer": "1"}, "field 'question' must be text, not list"),
        ({"question": "?", "answer": "1"}, "field 'id' is missing"),
        ({"id": "x", "question": "?", "answer": {"a": 1}}, "field 'answer' must be text, not dict"),
        (
            {"id": "x", "question": "?", "answer": "C", "choices": ["a", "b"]},
            "field 'answer' is 'C'; it must be A to B or the text of a choice",
        ),
        (
            {"id": "x", "question": "?", "answer": "A", "choices": "a or b"},
            "field 'choices' must be a list of texts",
        ),
        (
            {"id": "x", "question": "?", "answer": "1", "split": "dev"},
            "field 'split' is 'dev'; it must be train, test or all (= train)",
        ),
        (
            {"id": "x", "question": "?", "answer": "1", "rationale": 5},
            "field 'rationale' must be text, not int",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field_or_set_aside(tmp_path, row, reason):
    rows = [*rows_of(2), row, *rows_of(6)[2:]]
    error = error_of(tmp_path, rows)
    assert error.startswith(f"questions questions.jsonl line 3: {reason}")
    assert error.endswith("(1 of 7 rows can't be used, questions.max_bad_fraction is 0)")
    loaded = load(tmp_path, rows, max_bad_fraction=0.15)
    assert [question.id for question in loaded.questions] == [f"q{i}" for i in range(6)]
    (bad,) = loaded.bad_rows
    assert (Path(bad.path).name, bad.line) == ("questions.jsonl", 3)
    assert bad.reason.startswith(reason)


def test_rows_without_an_answer_are_training_questions_where_that_is_allowed(tmp_path):
    rows = [
        {"id": "a", "question": "2 + 2?"},
        {"id": "b", "question": "Which?", "answer": None, "choices": ["x", "y"]},
        {"id": "c", "question": "3 + 3?", "answer": "6"},
        {"id": "d", "question": "4 + 4?", "answer": " ", "split": "test"},
    ]
    settings = {"allow_missing_answers": True, "max_bad_fraction": 0.5}
    loaded = load(tmp_path, rows, test_fraction=0.99, **settings)
    found = [(q.id, q.answer, q.kind, q.split) for q in loaded.questions]
    assert found == [
        ("a", "", "number", "train"),
        ("b", "", "choice", "train"),
        ("c", "6", "number", "test"),
    ]
    assert [row.reason for row in loaded.bad_rows] == [
        "field 'answer' is missing, and this is a test question"
    ]
    texts = load(tmp_path, rows, answer_kind="text", **settings).questions
    assert [(q.id, q.kind) for q in texts] == [("a", "text"), ("b", "choice"), ("c", "number")]
    assert "field 'answer' is missing" in error_of(tmp_path, rows[:1])


def test_a_missing_answer_leaves_the_reference_rationale_and_is_none_of_a_broken_one(tmp_path):
    rows = [
        {"id": "a", "question": "2 + 2?", "rationale": "2 and 2 are 4."},
        {"id": "b", "question": "3 + 3?", "answer": "3 + 3 = 6 #### 6"},
        {"id": "c", "question": "4 + 4?", "answer": "no mark"},
        {"id": "d", "question": "Which?", "choices": ["only"]},
    ]
    settings = {"allow_missing_answers": True, "answer_separator": "####", "max_bad_fraction": 0.5}
    loaded = load(tmp_path, rows, **settings)
    found = [(q.id, q.answer, q.reference_rationale) for q in loaded.questions]
    assert found == [("a", "", "2 and 2 are 4."), ("b", "6", "3 + 3 = 6")]
    reasons = [row.reason for row in loaded.bad_rows]
    assert reasons[0] == "field 'answer' holds no answer separator '####'"
    assert reasons[1].startswith("field 'choices' has 1 choices")


def test_all_rows_of_a_test_file_need_an_answer(tmp_path):
    test = write_lines(tmp_path / "test.jsonl", [{"id": "t", "question": "1 + 1?"}])
    message = error_of(tmp_path, rows_of(2), test_path=test, allow_missing_answers=True)
    assert "test.jsonl line 1: field 'answer' is missing, and this is a test question" in message


def test_bad_rows_are_borne_up_to_the_fraction_and_not_beyond(tmp_path):
    rows = [*rows_of(8), "{}", "{}"]
    assert len(load(tmp_path, rows, max_bad_fraction=0.2).bad_rows) == 2
    error = error_of(tmp_path, rows, max_bad_fraction=0.19)
    assert "line 9: field 'id' is missing (2 of 10 rows" in error


def test_an_id_used_twice_is_an_error_naming_both_lines_whatever_is_borne(tmp_path):
    rows = [*rows_of(6), {"id": "q2", "question": "again?", "answer": "1"}]
    assert error_of(tmp_path, rows, max_bad_fraction=0.9) == (
        "questions questions.jsonl line 7: id 'q2' was already used at line 3; ids must be unique"
    )


def test_an_id_of_both_files_is_an_error_naming_both(tmp_path):
    test_path = write_lines(tmp_path / "test.jsonl", rows_of(5)[4:])
    assert error_of(tmp_path, rows_of(5), test_path=test_path) == (
        "questions test.jsonl line 1: id 'q4' was already used at questions.jsonl line 5; "
        "ids must be unique"
    )


def test_a_number_and_its_text_are_the_same_id(tmp_path):
    rows = [{**rows_of(1)[0], "id": 5}, {**rows_of(1)[0], "id": "5"}]
    assert "line 2: id '5' was already used at line 1" in error_of(tmp_path, rows)


@pytest.mark.parametrize("name", ["none.jsonl", "none.csv", "folder"])
def test_a_file_that_is_not_there_is_one_line_naming_it(tmp_path, name):
    (tmp_path / "folder").mkdir()
    good = write_lines(tmp_path / "good.jsonl", rows_of(3))
    for config in (source(tmp_path / name), source(good, test_path=str(tmp_path / name))):
        with pytest.raises(KpodError, match=name) as caught:
            load_questions(config, 0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [[], rows_of(3, split="test")])
def test_without_a_training_question_there_is_an_error(tmp_path, rows):
    assert f"no training question is left of {len(rows)}" in error_of(tmp_path, rows)


def test_arithmetic_questions_come_from_the_generator():
    config = ArithmeticQuestions(num_train=5, num_test=3)
    assert load_questions(config, 4) == LoadedQuestions(generate_questions(config, 4), [])


def test_the_content_hash_is_that_of_the_files_bytes(tmp_path):
    path = write_lines(tmp_path / "q.jsonl", rows_of(3))
    copy = write_lines(tmp_path / "copy.jsonl", rows_of(3))
    other = write_lines(tmp_path / "other.jsonl", rows_of(4))
    file_hash = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert content_hash(source(path)) == hashlib.sha256(file_hash.encode()).hexdigest()
    assert content_hash(source(path)) == content_hash(source(copy, limit=1))
    hashes = [
        source(path),
        source(other),
        source(path, test_path=other),
        source(other, test_path=path),
    ]
    assert len({content_hash(config) for config in hashes}) == 4


def test_the_content_hash_of_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(KpodError, match=r"none\.jsonl doesn't exist"):
        content_hash(source(tmp_path / "none.jsonl"))


def test_the_content_hash_of_other_sources_is_their_revision():
    hub = HubQuestions(source="hub", dataset="some/set", revision="abc")
    assert content_hash(hub) == "abc"
    assert content_hash(HubQuestions(source="hub", dataset="some/set")) == ""
    assert content_hash(ArithmeticQuestions()) == ""


def test_questions_validation_follow_from_id_and_seed_and_take_their_copies_along():
    ids = [f"q{i}" for i in range(1000)]
    validation = in_validation_set(ids, 0.3, 0)
    assert 250 < sum(validation) < 350
    assert in_validation_set([f"{i}#{n}" for n, i in enumerate(ids)], 0.3, 0) == validation
    assert in_validation_set(ids[::-1], 0.3, 0) == validation[::-1]
    assert in_validation_set(ids, 0.3, 1) != validation
    assert not any(in_validation_set(ids, 0.0, 0))
    # Questions that test_fraction leaves for training are held out as often as others.
    left = [i for i in ids if not in_test_split(i, 0.5, 0)]
    assert 0.2 < sum(in_validation_set(left, 0.3, 0)) / len(left) < 0.4


def test_a_seed_draws_other_training_questions_and_leaves_the_test_questions(tmp_path):
    rows = rows_of(60)
    loaded = {
        seed: load(tmp_path, rows, test_fraction=0.3, limit=10, train_seed=seed)
        for seed in (None, 0, 1)
    }
    first = [f"q{i}" for i in range(60) if not in_test_split(f"q{i}", 0.3, 0)][:10]
    assert ids(loaded[None], "train") == first
    assert len({tuple(ids(one, "train")) for one in loaded.values()}) == 3
    assert len({tuple(ids(one, "test")) for one in loaded.values()}) == 1
    for one in loaded.values():
        drawn = ids(one, "train")
        assert len(drawn) == 10
        assert sorted(drawn, key=lambda i: int(i[1:])) == drawn


def test_a_drawn_question_is_as_likely_at_the_end_of_the_file_as_at_its_start(tmp_path):
    counts = [0] * 20
    for seed in range(200):
        for question_id in ids(load(tmp_path, rows_of(20), limit=5, train_seed=seed), "train"):
            counts[int(question_id[1:])] += 1
    # 200 draws of 1 in 4: mean 50, standard deviation sqrt(200 * 1/4 * 3/4) = 6.1.
    assert all(50 - 4 * 6.2 < count < 50 + 4 * 6.2 for count in counts)


def test_the_seed_of_the_test_questions_has_priority_over_the_run_s(tmp_path):
    path = write_lines(tmp_path / "questions.jsonl", rows_of(40))
    own = load_questions(source(path, test_fraction=0.5, test_seed=3), seed=0)
    assert ids(own, "test") == ids(load_questions(source(path, test_fraction=0.5), seed=3), "test")


def test_a_draw_needs_more_questions_than_it_takes(tmp_path):
    assert error_of(tmp_path, rows_of(5), limit=5, train_seed=0) == (
        "questions.train_seed draws questions.limit=5 of the training questions, of which there are 5; "
        "lower questions.limit"
    )
    with pytest.raises(ValueError, match="train_seed draws limit of the training questions; set"):
        source("a.jsonl", train_seed=0)
