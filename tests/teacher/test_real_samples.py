"""Judging, on rationales of real teachers."""

import dataclasses
from collections import Counter

import pytest

from kpod_ray.answers.extraction import answers_equal
from kpod_ray.config import ColumnsConfig, FileQuestions, FileTeacher
from kpod_ray.questions.loading import load_questions
from kpod_ray.teacher.filtering import filter_samples
from kpod_ray.teacher.rationale_files import read_samples
from tests.conftest import SHARED_DATA


@pytest.fixture(scope="module")
def ten_samples():
    """SVAMP questions, each with ten unfiltered samples of GPT-3.5."""
    folder = SHARED_DATA / "svamp"
    if not folder.is_dir():
        pytest.skip(f"{folder} isn't on this machine")
    questions = load_questions(
        FileQuestions(source="file", path=str(folder / "train.jsonl")), 0
    ).questions
    columns = ColumnsConfig(teacher_answer="-")
    path = str(folder / "teacher_gpt35turbo_mcckd_10samples.jsonl")
    samples = read_samples(FileTeacher(kind="file", path=path, columns=columns), questions).samples
    by_question = {q.id: [s for s in samples if s.question_id == q.id] for q in questions}
    return [(q, by_question[q.id]) for q in questions if by_question[q.id]]


def test_real_samples_are_all_accounted_for_and_judged_alike_in_any_order(ten_samples):
    settings = FileTeacher(
        kind="file",
        path="-",
        selection="most_diverse",
        num_kept=3,
        filters={"near_duplicate": 0.8, "min_steps": 2, "max_steps": 9},
    )
    counts = Counter()
    for q, samples in ten_samples:
        found = filter_samples(q, samples, settings, "t", split_newlines=True)
        assert filter_samples(q, samples[::-1], settings, "t", split_newlines=True) == found
        assert [row.sample_index for row in found.rows] == list(range(10))
        counts += Counter(row.verdict for row in found.rows)
        used = [row for row in found.rows if row.verdict == "kept"]
        assert [c.id for c in found.questions] == [row.question_id for row in used]
        assert bool(used) == any(row.verdict in ("kept", "duplicate") for row in found.rows)
    assert counts.total() == 10 * len(ten_samples) == 4870
    assert set(counts) >= {"kept", "surplus", "duplicate", "wrong", "too_long"}


def test_the_answer_that_real_samples_agree_on_is_right_more_often_than_a_sample(ten_samples):
    settings = FileTeacher(kind="file", path="-", filters={"self_consistency": 0.6})
    num_right_samples, num_agreed, num_right = 0, 0, 0
    for q, samples in ten_samples:
        with_gold = filter_samples(
            q, samples, FileTeacher(kind="file", path="-"), "t", split_newlines=True
        )
        num_right_samples += sum(row.verdict in ("kept", "surplus") for row in with_gold.rows)
        without = filter_samples(
            dataclasses.replace(q, answer=""), samples, settings, "t", split_newlines=True
        )
        for agreed in without.questions:
            num_agreed += 1
            num_right += answers_equal(agreed.answer, q.answer, q.kind)
    assert num_agreed > len(ten_samples) / 2
    assert num_right / num_agreed > num_right_samples / (10 * len(ten_samples)) + 0.05
