from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from kpod_ray.data.batches import collate
from kpod_ray.data.examples import Example
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.requests import question_request
from kpod_ray.inference.transformers_pool import GeneratorActor
from kpod_ray.models.student import load_student
from kpod_ray.records import Prediction, Question
from kpod_ray.storage.artifacts import Artifact
from tests.training.training_runs import TWO, largest_difference, train, train_here


@pytest.fixture(scope="module")
def with_validation(training_inputs):
    """What training starts from where two of the questions are held out; their ids."""
    store, assess, plan = training_inputs
    ids = sorted(plan.read("clusters")["question_id"].to_pylist())[:2]
    own_plan = Artifact.of(store, "plan", 1, {"held out": True}, [])
    for name in ("schedule", "clusters"):
        table = plan.read(name)
        own_plan.write(name, table.filter(pc.invert(pc.is_in(table["question_id"], pa.array(ids)))))
    return (store, assess, own_plan), ids


def manifest(inputs, label):
    return Artifact.of(inputs[0], "train", 1, {"label": label}, []).manifest()


def test_the_student_with_the_lowest_loss_is_kept(ray_cluster, with_validation):
    inputs, ids = with_validation
    settings = {
        "validation_fraction": 0.3,
        "exported_student": "best",
        "learning_rate": 0.3,
        "warmup": 0.99,
    }
    _, two = train(inputs, "best 2", resources=TWO, **settings)
    _, one = train_here(inputs, "best 1", **settings)
    rows, rows_of_two = ([row for row in h if "validation_loss" in row] for h in (one, two))
    assert [row["stage"] for row in rows] == [1, 2, 3]
    losses = [row["validation_loss"] for row in rows]
    assert [row["validation_loss"] for row in rows_of_two] == pytest.approx(losses, rel=1e-2)
    assert losses[-1] > min(losses)  # it becomes too fast
    best = {"stage": 1 + losses.index(min(losses)), "validation_loss": min(losses)}
    assert manifest(inputs, "best 1")["best"] == best
    # What was exported has that loss.
    store, assess, _ = inputs
    folder = f"{Artifact.of(store, 'train', 1, {'label': 'best 1'}, []).path}/student"
    student = load_student(folder, torch.float32).eval()
    examples = [e for e in Example.from_table(assess.read("examples")) if e.question_id in ids]
    with torch.no_grad():
        nll = torch.cat([student(collate([e], [0], 0)).token_nll for e in examples])
    assert float(nll.mean()) == pytest.approx(min(losses), rel=1e-4)


def measurements(inputs, label):
    """Folder of what the questions held out were answered with."""
    return f"{Artifact.of(inputs[0], 'train', 1, {'label': label}, []).folder}/measurements"


def test_the_student_with_the_most_right_answers_is_kept(ray_cluster, with_validation):
    inputs, ids = with_validation
    store = inputs[0]
    settings = {"validation_fraction": 0.3, "accuracy_every_stages": 2}
    until_2, history = train_here(inputs, "until 2", schedule={"num_stages": 2}, **settings)
    assert [row["validation_accuracy"] for row in history if "validation_accuracy" in row] == [0.0]
    # An examination that is there is not repeated: after stage 2 all was right.
    right = [Prediction(i, "", "stop", 1, "1", "1", True) for i in ids]
    file = f"{measurements(inputs, 'best answers')}/stage-2.parquet"
    store.write_table(file, Prediction.to_table(right))
    kept, history = train(inputs, "best answers", exported_student="best", **settings)
    assert store.files(measurements(inputs, "best answers")) == [
        "stage-2.parquet",
        "stage-3.parquet",
    ]
    accuracies = {
        r["stage"]: r["validation_accuracy"] for r in history if "validation_accuracy" in r
    }
    assert accuracies == {2: 1.0, 3: 0.0}
    assert manifest(inputs, "best answers")["best"] == {"stage": 2, "validation_accuracy": 1.0}
    assert largest_difference(kept, until_2) <= 1e-6
    assert not list(Path(store.root).glob("train/*/students"))


def test_the_answers_are_those_of_the_student(ray_cluster, with_validation):
    inputs, ids = with_validation
    store = inputs[0]
    settings = {"validation_fraction": 0.3, "accuracy_every_stages": 2}
    train_here(inputs, "answers", schedule={"num_stages": 1}, learning_rate=0.1, **settings)
    rows = Prediction.from_table(
        store.read_table(f"{measurements(inputs, 'answers')}/stage-1.parquet")
    )
    asked = Question.from_table(Artifact.of(store, "teacher", 1, {}, []).read("questions"))
    requests = {q.id: question_request(q) for q in asked if q.id in ids}
    folder = f"{Artifact.of(store, 'train', 1, {'label': 'answers'}, []).path}/student"
    batch = GenerationRequest.to_table(requests.values())
    written = Completion.from_table(GeneratorActor(folder, "chat", "fp32", 24)(batch))
    texts = {row.id: row.text for row in written}
    assert {row.question_id: row.text for row in rows} == {
        question_id: texts[request.id] for question_id, request in requests.items()
    }
    assert any(row.text.strip() for row in rows)
