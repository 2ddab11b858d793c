"""Python code in a model folder runs only if the config trusts the model."""

import ast
import json
import os
import shutil

import pytest
import torch

from kpod_ray.config import EvaluationConfig, VllmTeacher
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.names import is_folder, is_hub_name, without_folders
from kpod_ray.models.sources import is_encoder_decoder, model_folder, model_hash
from kpod_ray.models.student import check_vocabulary, load_student, load_tokenizer
from kpod_ray.schedule.embeddings import encode_texts
from tests.conftest import REPOSITORY

CODE = """
import os
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel

Path(os.environ["KPOD_TEST_MARKER"]).write_text("the code ran")


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnEncoder(LlamaModel):
    config_class = OwnConfig


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def marker(tmp_path, monkeypatch):
    path = tmp_path / "marker"
    monkeypatch.setenv("KPOD_TEST_MARKER", str(path))
    return path


@pytest.fixture
def folder(tmp_path, marker):
    place = tmp_path / "own-model"
    shutil.copytree(model_folder("tiny:0"), place)
    code = f"own_code_{os.getpid()}"
    (place / f"{code}.py").write_text(CODE)
    settings = json.loads((place / "config.json").read_text())
    classes = {
        "AutoConfig": "OwnConfig",
        "AutoModel": "OwnEncoder",
        "AutoModelForCausalLM": "OwnForCausalLM",
    }
    auto_map = {auto: f"{code}.{own}" for auto, own in classes.items()}
    settings |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": auto_map}
    (place / "config.json").write_text(json.dumps(settings))
    return str(place)


@pytest.mark.parametrize(
    "load",
    [
        lambda name: load_student(name, torch.float32),
        is_encoder_decoder,
        check_vocabulary,
        lambda name: check_model(name, ModelUse("student", "chat")),
        lambda name: check_model(name, ModelUse("teacher", "chat")),
        lambda name: encode_texts(name, ["1 + 1?"]),
    ],
)
def test_the_code_of_a_model_is_not_run_and_nobody_is_asked(folder, marker, load, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)  # a question on the terminal would fail
    with pytest.raises(KpodError, match=f"name the model trusted:{folder}") as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert not marker.exists()


def test_a_tokenizer_without_code_of_its_own_is_loaded(folder, marker):
    assert load_tokenizer(folder)("1 + 1 = 2").input_ids
    assert not marker.exists()


def test_the_code_of_a_trusted_model_is_run(folder, marker):
    name = f"trusted:{folder}"
    student = load_student(name, torch.float32)
    assert type(student.language_model).__name__ == "OwnForCausalLM"
    assert marker.read_text() == "the code ran"
    plain = load_student("tiny:0", torch.float32)
    ids = torch.tensor([load_tokenizer(name)("1 + 1 = 2").input_ids])
    with torch.no_grad():
        logits = student.language_model(ids).logits
        assert torch.equal(logits, plain.language_model(ids).logits)
    assert not is_encoder_decoder(name)
    check_vocabulary(name)
    for role in ("student", "teacher", "encoder"):
        check_model(name, ModelUse(role))
        check_model(f"trusted:file://{folder}", ModelUse(role))
    assert encode_texts(name, ["1 + 1?"]).shape == (1, 64)


def test_a_trusted_name_means_the_same_model(folder):
    assert model_folder("trusted:tiny:0") == model_folder("tiny:0")
    assert model_hash(f"trusted:{folder}") == model_hash(folder) != ""
    assert without_folders(f"trusted:{folder}") == "own-model"
    assert without_folders("trusted:owner/name") == "owner/name"
    assert is_hub_name("trusted:owner/name")
    assert is_folder(f"trusted:{folder}")


@pytest.mark.parametrize("name", ["trust_remote_code", "trust-remote-code"])
def test_the_arguments_of_the_engine_are_no_back_door(name):
    with pytest.raises(ValueError, match="write trusted: before the name of the model"):
        VllmTeacher(kind="vllm", model="tiny:0", engine_kwargs={name: True})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_cls", "os.system"),
        ("worker_extension_cls", "a.B"),
        ("scheduler_cls", "a.B"),
        ("logits_processors", ["a:B"]),
        ("reasoning_parser_plugin", "/tmp/a.py"),
        ("distributed_executor_backend", "a.B"),
    ],
)
def test_the_arguments_of_the_engine_name_no_code(name, value):
    with pytest.raises(ValueError, match=f"{name} is"):
        EvaluationConfig(engine_kwargs={name: value})
    assert EvaluationConfig(engine_kwargs={"distributed_executor_backend": "mp"}).engine_kwargs


def test_every_model_is_loaded_with_a_word_about_its_code():
    """A call of ``AutoSomething.from_pretrained`` without the argument would ask on the terminal."""
    for path in (REPOSITORY / "kpod_ray").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr == "from_pretrained" and owner.lower().startswith("auto"):
                assert "trust_remote_code" in {word.arg for word in node.keywords}, path
