"""Phase evaluate with transformers: every question answered, by the texts of a plain generation."""

import dataclasses

import pytest
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.errors import KpodError
from kpod_ray.evaluation.phase import evaluate_further_sets, evaluate_student
from kpod_ray.evaluation.scoring import wilson_interval
from kpod_ray.evaluation.steps import step_statistics
from kpod_ray.models.sources import model_folder
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.records import Prediction, Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store


def config_of(storage, model, **evaluation):
    return RunConfig.model_validate(
        {
            "name": "t",
            "storage": str(storage),
            "teacher": {"kind": "file", "path": "-"},
            "student": {"model": model, "template": "plain"},
            "evaluation": {"max_new_tokens": 8, "batch_size": 4, **evaluation},
            "resources": {"evaluate": {"num_threads": 1, "rows_per_block": 4}},
        }
    )


@pytest.mark.parametrize("model", ["tiny:0", "tiny-t5:0"])
def test_answers_are_those_of_a_plain_generation_of_one(
    ray_cluster, tmp_path, tiny_tokenizer, model
):
    store = Store.open(str(tmp_path))
    rows = generate_questions(ArithmeticQuestions(num_train=1, num_test=18, max_steps=2), seed=0)
    questions = Artifact.of(store, "questions", 1, {}, [])
    questions.write("questions", Question.to_table(rows))
    artifact = Artifact.of(store, "evaluate", 1, {}, [])
    config = config_of(tmp_path, model, backend="transformers", limit=17)
    manifest = evaluate_student(config, questions, model, artifact, lambda done, rows: None)
    tested = [row for row in rows if row.split == "test"][:17]
    predictions = Prediction.from_table(artifact.read("predictions"))
    assert [row.question_id for row in predictions] == [row.id for row in tested]
    assert manifest["counts"]["questions"] == 17
    assert manifest["steps"] == dataclasses.asdict(step_statistics(predictions))
    assert [row.num_gold_steps for row in predictions] == [i % 2 + 1 for i in range(17)]
    folder = model_folder(model)
    kind = AutoModelForSeq2SeqLM if "t5" in model else AutoModelForCausalLM
    language_model = kind.from_pretrained(folder)
    for row, question in zip(predictions, tested, strict=True):
        ids = encode_prompt(tiny_tokenizer, question.question, "plain")
        ids = [*ids, tiny_tokenizer.eos_token_id] if "t5" in model else ids
        read = tiny_tokenizer.pad({"input_ids": [ids]}, return_tensors="pt")
        output = language_model.generate(**read, max_new_tokens=8, do_sample=False)[0]
        written = output[1:] if "t5" in model else output[len(ids) :]
        assert row.text == tiny_tokenizer.decode(written, skip_special_tokens=True)
        assert row.gold_answer == question.answer


def test_further_sets_are_answered_at_once_and_scored_apart(ray_cluster, tmp_path):
    store = Store.open(str(tmp_path))
    rows = generate_questions(ArithmeticQuestions(num_train=1, num_test=6, max_steps=2), seed=0)
    sets = {"some": rows[1:5], "others": rows[3:], "one": rows[1:2]}
    questions = Artifact.of(store, "questions", 1, {}, [])
    for name, asked in sets.items():
        questions.write(f"questions_{name}", Question.to_table(asked))
    questions.finish({"counts": {}, "sets": {name: {} for name in sets}})
    artifact = Artifact.of(store, "evaluate", 1, {}, [])
    config = config_of(tmp_path, "tiny:0", backend="transformers", limit=3)
    told = []
    manifest = evaluate_further_sets(
        config, questions, "tiny:0", artifact, lambda *counts: told.append(counts)
    )
    # The third question of the first set is the first one of the second set.
    assert told == [(5, 5)]
    answers = {}
    for name, asked in sets.items():
        predictions = Prediction.from_table(artifact.read(f"predictions_{name}"))
        assert [row.question_id for row in predictions] == [row.id for row in asked[:3]]
        scores = manifest["sets"][name]
        assert scores["counts"]["questions"] == len(asked[:3])
        correct = sum(row.is_correct for row in predictions)
        low, high = wilson_interval(correct, len(predictions))
        share = correct / len(predictions)
        assert scores["accuracy"] == {"value": share, "low": low, "high": high}
        assert scores["steps"] == dataclasses.asdict(step_statistics(predictions))
        for row in predictions:
            assert answers.setdefault(row.question_id, row) == row
    assert len(answers) == 5
    for key in ("questions", "correct", "no_answer", "truncated", "tokens"):
        total = sum(scores["counts"][key] for scores in manifest["sets"].values())
        assert manifest["counts"][key] == total
    assert manifest["counts"]["questions"] == 7
    assert not list((tmp_path / artifact.folder).glob("*.parts"))


@pytest.mark.parametrize("backend", ["vllm", "transformers"])
def test_without_test_questions_nothing_starts(tmp_path, backend):
    store = Store.open(str(tmp_path))
    rows = generate_questions(ArithmeticQuestions(num_train=2, num_test=0), seed=0)
    questions = Artifact.of(store, "questions", 1, {}, [])
    questions.write("questions", Question.to_table(rows))
    config = config_of(tmp_path, "tiny:0", backend=backend)
    with pytest.raises(KpodError, match=r"^there is no test question to evaluate on; set"):
        evaluate_student(
            config, questions, "tiny:0", Artifact.of(store, "evaluate", 1, {}, []), print
        )
