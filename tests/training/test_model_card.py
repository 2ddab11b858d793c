"""The card of a student says what was trained on what, and nothing of the machine."""

import pytest
import yaml

from kpod_ray.config import RunConfig
from kpod_ray.training.model_card import model_card

COUNTS = {"stages": 3, "train_steps": 12, "tokens": 12345, "loss_tokens": 6000}


def card(student, **settings):
    config = {"name": "run", "teacher": {"kind": "vllm", "model": "org/teacher"}, **settings}
    config["student"] = {"template": "plain", **student}
    return model_card(RunConfig.model_validate(config), COUNTS, "1.2")


def test_a_card_names_models_data_and_method():
    text = card({"model": "org/small", "lora": {"rank": 8}, "learning_rate": 3e-5}, seed=7)
    header = yaml.safe_load(text.split("---")[1])
    assert header["base_model"] == "org/small"
    assert header["library_name"] == "transformers"
    for told in (
        "| student | `org/small`, adapters of rank 8, merged |",
        "| teacher | `org/teacher` |",
        "| questions | made-up arithmetic questions |",
        "| stages | 3 |",
        "| train steps | 12 of 8 examples |",
        "| tokens | 12,345, 6,000 of them in the loss |",
        "| learning rate | 3e-05, constant |",
        "| seed | 7 |",
        "kpod_ray 1.2",
    ):
        assert told in text


@pytest.mark.parametrize(
    ("weighting", "student", "told"),
    [
        ({}, {}, "learned"),
        ({"kind": "hand"}, {}, "hand"),
        ({"kind": "file", "path": "secret"}, {}, "file"),
        (None, {}, "uniform"),
        ({"kind": "hand"}, {"token_weights": "uniform"}, "uniform"),
    ],
)
def test_a_card_tells_the_kind_of_token_weights(weighting, student, told):
    text = card({"model": "org/small", "loss": "dft", **student}, weighting=weighting)
    assert f"| token weights | {told} |" in text
    assert "| loss | dft |" in text
    assert "secret" not in text


def test_folders_of_the_machine_stay_out_of_a_card(tmp_path):
    (tmp_path / "secret").mkdir()
    questions = {"source": "file", "path": str(tmp_path / "secret" / "mine.jsonl")}
    teacher = {"kind": "file", "path": str(tmp_path / "secret" / "theirs.jsonl")}
    model = str(tmp_path / "secret" / "model")
    text = card({"model": model}, questions=questions, teacher=teacher)
    assert "secret" not in text
    assert "base_model" not in text
    for told in ("| student | `model` |", "| teacher | `theirs` |", "| questions | `mine.jsonl` |"):
        assert told in text


def test_a_folder_that_reads_like_a_name_on_the_hub_is_no_base_model(tmp_path, monkeypatch):
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for model in ("models/mine", "s3://bucket/models/mine"):
        text = card({"model": model})
        assert "base_model" not in text
        assert "| student | `mine` |" in text
        assert "bucket" not in text
