"""Loading, on files of real questions."""

import dataclasses
import random
from collections import Counter

import pytest

from kpod_ray.config import ColumnsConfig
from kpod_ray.questions.loading import load_questions
from tests.conftest import SHARED_DATA
from tests.json_lines import write_lines
from tests.questions.question_files import ids, source


def real(name):
    path = SHARED_DATA / name
    if not path.is_file():
        pytest.skip(f"{path} isn't on this machine")
    return path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("svamp/train.jsonl", {("number", "train"): 700}),
        ("gsm8k/train.jsonl", {("number", "train"): 7473}),
        ("commonsenseqa/train.jsonl", {("choice", "train"): 9741}),
        ("ood/strategyqa.jsonl", {("boolean", "train"): 2000, ("boolean", "test"): 290}),
        (
            "asdiv/all.jsonl",
            {("number", "train"): 2092, ("text", "train"): 208, ("boolean", "train"): 5},
        ),
    ],
)
def test_real_files_load_whole(name, counts):
    loaded = load_questions(source(real(name)), 0)
    assert Counter((q.kind, q.split) for q in loaded.questions) == counts
    assert not loaded.bad_rows


@pytest.mark.parametrize("name", ["coin_flip", "last_letters", "multiarith", "aqua_test"])
def test_real_test_files_load_beside_a_training_file(name):
    path = real(f"ood/{name}.jsonl")
    loaded = load_questions(source(real("svamp/train.jsonl"), test_path=str(path)), 0)
    num_rows = len(path.read_text().splitlines())
    assert (len(ids(loaded, "train")), len(ids(loaded, "test"))) == (700, num_rows)


def test_the_solutions_of_gsm8k_give_the_published_answers_and_readable_rationales():
    path = real("gsm8k/train.jsonl")
    plain = load_questions(source(path), 0).questions
    solved = load_questions(
        source(path, answer_separator="####", columns=ColumnsConfig(answer="solution")), 0
    ).questions
    assert [q.answer for q in solved] == [q.answer for q in plain]
    assert all(q.reference_rationale for q in solved)
    assert not any(mark in q.reference_rationale for q in solved for mark in ("<<", ">>", "####"))


def test_shuffling_a_real_file_keeps_its_split(tmp_path):
    lines = real("svamp/train.jsonl").read_text().splitlines()
    config = source(write_lines(tmp_path / "a.jsonl", lines), test_fraction=0.2)
    random.Random(0).shuffle(lines)
    shuffled = source(write_lines(tmp_path / "b.jsonl", lines), test_fraction=0.2)
    first, second = (load_questions(c, 9).questions for c in (config, shuffled))
    assert [q.id for q in first] != [q.id for q in second]
    assert sorted(map(dataclasses.astuple, first)) == sorted(map(dataclasses.astuple, second))
