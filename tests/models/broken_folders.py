"""Ways to break a good model folder, and what is told about each."""

import json
import os
import shutil
import struct
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from kpod_ray.models.sources import model_folder

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def without(*names):
    def remove(folder):
        for name in names:
            (folder / name).unlink()

    return remove


def settings(name, **changes):
    """Return a function that changes settings of a JSON file; a change to None removes the setting."""

    def change(folder):
        values = json.loads((folder / name).read_text()) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


def renamed(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def cut(name, size):
    return lambda folder: os.truncate(folder / name, size)


def tensors(change):
    """Return a function that changes the tensors of a folder."""

    def rewrite(folder):
        values = load_file(folder / WEIGHTS)
        change(values)
        save_file(values, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def sharded(then):
    """Return a function that splits the weights of a folder into files, and then changes these."""

    def split(folder):
        model = AutoModelForCausalLM.from_pretrained(folder)
        (folder / WEIGHTS).unlink()
        model.save_pretrained(folder, max_shard_size="150KB")
        assert (folder / "model-00002-of-00003.safetensors").is_file()
        then(folder)

    return split


def mapped(change):
    """Return a function that changes the index of a sharded model."""

    def rewrite(folder):
        index = json.loads((folder / INDEX).read_text())
        change(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index))

    return rewrite


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def file_instead(folder):
    shutil.rmtree(folder)
    folder.write_bytes(b"GGUF")


def long_header(folder):
    size = struct.pack("<Q", 2**60)
    (folder / WEIGHTS).write_bytes(size + (folder / WEIGHTS).read_bytes()[8:])


def sparse_llama(folder):
    """Write an 8-billion-parameter model in 30 files that have headers and no data."""
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {k: list(v.shape) for k, v in LlamaForCausalLM(config).state_dict().items()}
    places, names = {}, list(shapes)
    for number in range(30):
        file, header, end = f"model-{number}.safetensors", {}, 0
        for name in names[number::30]:
            start, end = end, end + 2 * torch.Size(shapes[name]).numel()
            header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [start, end]}
            places[name] = file
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        (folder / file).write_bytes(struct.pack("<Q", len(head)) + head)
        os.truncate(folder / file, 8 + len(head) + end)
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    for file in Path(model_folder("tiny:0")).glob("*token*"):
        shutil.copy(file, folder)


ANY = {
    "nothing": (shutil.rmtree, "no such model folder"),
    "empty folder": (emptied, "no such model folder"),
    "a file": (file_instead, "it is a file; name the folder"),
    "no config": (without("config.json"), r"a config\.json is expected"),
    "empty config": (text("config.json", b""), "no valid JSON .*copy the file again"),
    "cut config": (cut("config.json", 50), "no valid JSON"),
    "binary config": (text("config.json", bytes(range(256))), "no valid JSON"),
    "config of brackets": (text("config.json", b"[" * 100_000), "no valid JSON"),
    "config is a list": (text("config.json", b"[1]"), "has no model_type"),
    "no model type": (settings("config.json", model_type=None), "has no model_type"),
    "unknown model type": (
        settings("config.json", model_type="gpt-9"),
        "doesn't know its model_type 'gpt-9'; name another model, or update",
    ),
    "words for numbers": (settings("config.json", hidden_size="wide"), "hidden_size"),
    "no layers' worth": (settings("config.json", num_attention_heads=0), "config.json"),
    "negative width": (settings("config.json", intermediate_size=-1), "config.json"),
    "own code": (
        lambda folder: (
            settings("config.json", model_type="mine", auto_map={"AutoConfig": "mine.MyConfig"})(
                folder
            ),
            (folder / "mine.py").write_text("open('was here', 'w')"),
        ),
        "needs Python code from its own folder",
    ),
    "no weights": (without(WEIGHTS), r"holds no weights \(model.safetensors is expected\)"),
    "pickled weights": (renamed(WEIGHTS, "pytorch_model.bin"), "pickled weights alone .*can run"),
    "GGUF weights": (renamed(WEIGHTS, "model.gguf"), "GGUF weights alone; load them with tran"),
    "GGUF alone": (
        lambda folder: (emptied(folder), (folder / "m.gguf").write_bytes(b"GGUF")),
        "GGUF files must be converted first",
    ),
    "an adapter": (
        lambda folder: (emptied(folder), (folder / "adapter_config.json").write_text("{}")),
        "it holds an adapter; merge",
    ),
    "an adapter beside": (text("adapter_config.json", b"{}"), "it holds an adapter; merge"),
    "empty weights": (text(WEIGHTS, b""), "truncated or no safetensors file .*copy"),
    "cut header": (cut(WEIGHTS, 100), "truncated or no safetensors file"),
    "cut weights": (cut(WEIGHTS, 100_000), "truncated or no safetensors file"),
    "a Git LFS pointer": (
        text(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "truncated or no safetensors file",
    ),
    "too long a header": (long_header, "truncated or no safetensors file"),
    "other shapes": (
        tensors(lambda values: values.update({"model.norm.weight": torch.ones(63)})),
        r"norm\.weight has shape \[63\], config.json asks for \[64\] \(1 such",
    ),
    "a parameter less": (
        tensors(lambda values: values.pop("model.layers.1.mlp.up_proj.weight")),
        r"lack .*layers\.1\.mlp\.up_proj\.weight \(1 parameters",
    ),
    "other names": (
        tensors(lambda values: [values.update({f"x.{k}": values.pop(k)}) for k in list(values)]),
        "its weights lack .* of another model",
    ),
    "a deeper config": (
        settings("config.json", num_hidden_layers=3, layer_types=None),
        r"its weights lack .*layers\.2\.",
    ),
    "a missing shard": (
        sharded(without("model-00002-of-00003.safetensors")),
        r"model-00002-of-00003.safetensors is missing \(1 of 3 files",
    ),
    "a cut shard": (
        sharded(cut("model-00003-of-00003.safetensors", 5000)),
        "model-00003-of-00003.safetensors is truncated",
    ),
    "a cut index": (sharded(cut(INDEX, 70)), "index.json is damaged"),
    "an index without map": (sharded(text(INDEX, b"{}")), "index.json is damaged"),
    "an empty index": (sharded(text(INDEX, b'{"weight_map": {}}')), "every file of weights is m"),
    "an index to elsewhere": (
        sharded(mapped(lambda places: places.update(x="../other.safetensors"))),
        r"\.\./other.safetensors is missing",
    ),
    "a foreign index": (
        sharded(mapped(lambda places: places.update(x=places["model.norm.weight"]))),
        "holds no x, which model.safetensors.index.json says",
    ),
    "a million layers": (
        settings("config.json", num_hidden_layers=1_000_000, layer_types=None),
        "its weights lack layers: config.json asks for 1000000, the files hold",
    ),
    "cut generation config": (cut("generation_config.json", 30), "generation_config.json is inv"),
    "a list for an id": (
        settings("generation_config.json", pad_token_id=[]),
        "generation_config.json is invalid .*mend or delete",
    ),
    "own code of the tokenizer": (
        lambda folder: (
            settings(
                "tokenizer_config.json",
                tokenizer_class="Mine",
                auto_map={"AutoTokenizer": ["mine.Mine", "mine.Mine"]},
            )(folder),
            (folder / "mine.py").write_text("open('was here', 'w')"),
        ),
        "it needs Python code from its own folder, which isn't run; read the code",
    ),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        "its tokenizer can't be loaded|makes no tokens",
    ),
    "cut tokenizer": (cut("tokenizer.json", 500), "its tokenizer can't be loaded .*copy tok"),
    "empty tokenizer": (text("tokenizer.json", b"{}"), "its tokenizer can't be loaded"),
    "binary tokenizer": (text("tokenizer.json", b"\xff" * 99), "its tokenizer can't be loaded"),
    "cut tokenizer config": (cut("tokenizer_config.json", 9), "its tokenizer can't be loaded"),
    "a padding token without embedding": (
        settings("tokenizer_config.json", pad_token="<my padding>"),
        "token '<my padding>' of its tokenizer has no embedding, the model has 259",
    ),
    "small embeddings": (
        lambda folder: (
            settings("config.json", vocab_size=200, pad_token_id=0, eos_token_id=1)(folder),
            tensors(
                lambda values: values.update(
                    {"model.embed_tokens.weight": values["model.embed_tokens.weight"][:200]}
                )
            )(folder),
        ),
        "its tokenizer has 256 tokens, the model 200; take the tokenizer that belongs",
    ),
}
"""What is wrong wherever the model is used: how a good folder is broken, and what is told."""
CHAT = {
    "no template": (
        without("chat_template.jinja"),
        r"it has no chat template; set \w+\.template=plain",
    ),
    "a cut template": (cut("chat_template.jinja", 60), "its chat template fails .*mend"),
    "a template with a wrong name": (
        text("chat_template.jinja", b"{{ messages[0].nothing.at.all }}"),
        "its chat template fails",
    ),
    "a template without the question": (
        text("chat_template.jinja", b"Hello"),
        "its chat template leaves out the question",
    ),
    "a template that breaks out": (
        text("chat_template.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"),
        "its chat template fails",
    ),
}
"""What is wrong where prompts are rendered by the model's template."""
