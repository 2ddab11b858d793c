"""Every broken model folder is told in one line that names the folder, wherever a model is named."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from kpod_ray.cli.main import main
from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.naming import check_models
from tests.conftest import REPOSITORY
from tests.models.broken_folders import ANY, CHAT, WEIGHTS, cut, settings, sharded, sparse_llama

PLACES = {
    "student": lambda at: [f"student.model={at}"],
    "predictor": lambda at: [f"weighting.predictor={at}"],
    "teacher": lambda at: ["teacher.kind=vllm", f"teacher.model={at}"],
    "embedding": lambda at: [f"schedule.embedding={at}"],
}


def check(place, at):
    check_models(load(REPOSITORY / "configs" / "smoke.yaml", PLACES[place](at)))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "model"
    shutil.copytree(model_folder("tiny:0"), folder)
    return folder


@pytest.mark.parametrize("place", PLACES)
def test_a_good_folder_passes_whole_or_sharded(good, tmp_path, place):
    check(place, good)
    shutil.copytree(good, tmp_path / "shards")
    sharded(lambda folder: None)(tmp_path / "shards")
    check(place, tmp_path / "shards")
    check(place, f"file://{tmp_path}/shards")


@pytest.mark.parametrize("kind", ANY)
def test_a_broken_folder_is_told_wherever_it_is_named(good, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    damage, told = ANY[kind]
    broken = tmp_path / "broken"
    shutil.copytree(good, broken)
    damage(broken)
    for place in PLACES:
        with pytest.raises(KpodError, match=f"^model {broken}: .*({told})") as caught:
            check(place, broken)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
    assert not Path("was here").exists()
    if broken.is_dir() and (broken / "config.json").exists():
        with pytest.raises(KpodError, match=f"^model file://{broken}: .*({told})"):
            check("student", f"file://{broken}")


@pytest.mark.parametrize("kind", CHAT)
@pytest.mark.parametrize("place", ["student", "teacher"])
def test_a_broken_chat_template_is_told_where_it_is_needed(good, tmp_path, kind, place):
    damage, told = CHAT[kind]
    broken = tmp_path / "broken"
    shutil.copytree(good, broken)
    damage(broken)
    with pytest.raises(KpodError, match=f"^model {broken}: .*{told}") as caught:
        check(place, broken)
    assert "\n" not in str(caught.value)
    assert f"set {place}.template=plain" in str(caught.value)
    check_model(str(broken), ModelUse("student", "plain"))
    check("predictor", broken)


@pytest.mark.parametrize("command", ["run smoke.yaml", "sweep sweep-smoke.yaml"])
def test_a_command_ends_with_code_2_before_anything_is_made(good, tmp_path, capsys, command):
    broken = tmp_path / "broken"
    shutil.copytree(good, broken)
    cut(WEIGHTS, 1000)(broken)
    name, config = command.split()
    overrides = [f"student.model={broken}", f"storage={tmp_path / 'store'}"]
    with pytest.raises(SystemExit) as ended:
        main([name, str(REPOSITORY / "configs" / config), *overrides])
    assert ended.value.code == 2
    printed = capsys.readouterr().err.splitlines()
    assert [line for line in printed if line.startswith(f"kpod: model {broken}: {WEIGHTS} is tr")]
    assert len(printed) == 1
    assert not (tmp_path / "store").exists()


def test_an_encoder_is_no_student_and_a_student_of_two_halves_no_teacher(tmp_path):
    pair = model_folder("tiny-t5:0")
    check("student", pair)
    for name in (pair, "tiny-t5:0"):
        with pytest.raises(KpodError, match="vLLM takes no encoder-decoder model"):
            check("teacher", name)
        with pytest.raises(KpodError, match="an encoder-decoder model embeds no texts"):
            check("embedding", name)
    config = BertConfig(
        vocab_size=300,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    for file in Path(model_folder("tiny:0")).glob("*token*"):
        shutil.copy(file, tmp_path)
    check("embedding", tmp_path)
    with pytest.raises(KpodError, match="BertModel is no language model"):
        check("teacher", tmp_path)
    with pytest.raises(KpodError, match="its weights lack cls"):
        check("predictor", tmp_path)


def test_of_a_teacher_that_only_vllm_loads_the_files_are_checked(good, tmp_path):
    folder = tmp_path / "seeing"
    shutil.copytree(good, folder)
    text_config = {"model_type": "qwen2_vl_text", "vocab_size": 300}
    values = {"model_type": "qwen2_vl", "text_config": text_config}
    values["architectures"] = ["Qwen2VLForConditionalGeneration"]
    (folder / "config.json").write_text(json.dumps(values))
    check("teacher", folder)
    cut(WEIGHTS, 1000)(folder)
    with pytest.raises(KpodError, match=f"^model {folder}: {WEIGHTS} is truncated"):
        check("teacher", folder)


def test_a_decoder_without_start_token_is_told(tmp_path):
    shutil.copytree(model_folder("tiny-t5:0"), tmp_path / "pair")
    settings("config.json", decoder_start_token_id=None)(tmp_path / "pair")
    with pytest.raises(KpodError, match="decoder_start_token_id is missing"):
        check("student", tmp_path / "pair")


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "tokenizer.json"])
def test_a_file_that_may_not_be_read_is_told(good, name):
    check_model(str(good), ModelUse("student"))  # loads all modules, as the user that may do so
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(good, f"{place}/closed")
        os.chmod(place, 0o755)
        for file in Path(place, "closed").iterdir():
            file.chmod(0 if file.name == name else 0o644)
        user = os.geteuid()
        if user == 0:  # root may read every file
            os.seteuid(65534)
        try:
            with pytest.raises(
                KpodError, match=f"^model {place}/closed: .*Permission denied"
            ) as told:
                check_model(f"{place}/closed", ModelUse("student"))
        finally:
            os.seteuid(user)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["/" + "x" * 5000, "/a\0b", "own\0er/name", "~no-such-user/m", ""])
def test_names_that_are_no_path_are_told(name):
    with pytest.raises(KpodError, match=r"^model "):
        check_model(name, ModelUse("student"))


def test_a_sharded_model_of_8_billion_parameters_is_checked_in_seconds(good, tmp_path):
    sparse_llama(tmp_path)
    check_model(str(good), ModelUse("student"))  # loads torch and transformers
    start = time.process_time()
    check_model(str(tmp_path), ModelUse("student"))
    assert time.process_time() - start < 5
