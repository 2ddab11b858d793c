"""Check the weights of a model folder by the headers of its files; no tensor is read.

`check_weights` says in one line what would otherwise fail in every worker that loads the model, or would
leave parameters at random values. `copy_without_tensors` makes a folder that can be checked from a model
at an address.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import is_trusted

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_UNUSED_HEAD = "pooler"
"""Part of the names of parameters that no phase uses and that encoders may lack."""
_MAX_HEADER = 100 * 2**20
"""Longest header that the safetensors library accepts, in bytes."""
_SMALL_FILE = 64 * 2**20
"""Largest size in bytes of a file other than weights that is copied."""
_Shapes = dict[str, tuple[int, ...]]


def check_weights(name: str, folder: Path, model_class: Any, config: Any) -> None:
    """Check that the safetensors files of a folder are whole and hold the parameters of a model.

    Args:
        name: name of the model for messages.
        folder: model folder.
        model_class: auto class that loads the model, such as `AutoModelForCausalLM`; None compares no
            parameters.
        config: transformers' config of the model. The parameters of a quantized model aren't compared.

    Raises:
        KpodError: There are no safetensors files, a file is missing, truncated or no safetensors file,
            or the model has parameters that the files don't have or have in another shape.
    """
    shapes: _Shapes = {}
    for file, expected in _weight_files(name, folder).items():
        found = _shapes_in(name, folder / file)
        lost = sorted(expected - found.keys())
        if lost:
            raise KpodError(
                f"model {name}: {file} holds no {lost[0]}, which {INDEX} says it does; "
                "copy the files of one model again"
            )
        shapes |= found
    if model_class is not None and getattr(config, "quantization_config", None) is None:
        _check_parameters(name, model_class, config, shapes)


def _weight_files(name: str, folder: Path) -> Mapping[str, set[str]]:
    """Return the files of weights and, by the index of a sharded model, the parameters in each."""
    if (folder / SINGLE).is_file():
        return {SINGLE: set()}
    if not (folder / INDEX).is_file():
        raise KpodError(f"model {name}: {_other_weights(folder)}")
    try:
        places = json.loads((folder / INDEX).read_bytes())["weight_map"]
        pairs = [(str(place), str(key)) for key, place in places.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KpodError(f"model {name}: {INDEX} is damaged; copy the file again") from error
    files: dict[str, set[str]] = {}
    for place, key in pairs:
        files.setdefault(place, set()).add(key)
    missing = [file for file in files if Path(file).name != file or not (folder / file).is_file()]
    if missing or not files:
        lost = missing[0] if missing else "every file of weights"
        raise KpodError(
            f"model {name}: {lost} is missing ({len(missing)} of {len(files)} files that {INDEX} "
            "names); copy the folder again"
        )
    return files


def _other_weights(folder: Path) -> str:
    """Say which weights a folder without safetensors holds, and what to do."""
    names = [path.name for path in folder.iterdir()]
    if any(name.endswith(".gguf") for name in names):
        return (
            "it holds GGUF weights alone; load them with transformers' gguf_file=..., and write a "
            "folder by save_pretrained"
        )
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        return (
            "it holds pickled weights alone (such as pytorch_model.bin), which can run code; load "
            "weights that you trust with transformers, and save_pretrained writes safetensors"
        )
    return f"it holds no weights ({SINGLE} is expected); copy the folder again"


def _shapes_in(name: str, file: Path) -> _Shapes:
    """Return the shape of every tensor in a safetensors file by its name; the file's size is checked."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise KpodError(
            f"model {name}: {file.name} is truncated or no safetensors file ({reason}); "
            "copy the file again"
        ) from error


def _check_parameters(name: str, model_class: Any, config: Any, shapes: _Shapes) -> None:
    """Compare the tensors with the parameters of the model, as transformers would load them."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    if layers > len(shapes):  # a model of as many layers as a damaged config names may take hours
        raise KpodError(
            f"model {name}: its weights lack layers: config.json asks for {layers}, the files hold "
            f"{len(shapes)} tensors; the weights are incomplete or of another model"
        )
    missing, mismatched = _loading_faults(name, model_class, config, shapes)
    missing = [key for key in missing if _UNUSED_HEAD not in key]
    if mismatched:
        key, found, expected = mismatched[0]
        raise KpodError(
            f"model {name}: {key} has shape {list(found)}, config.json asks for {list(expected)} "
            f"({len(mismatched)} such parameters); the weights and config.json are of two models"
        )
    if missing:
        raise KpodError(
            f"model {name}: its weights lack {missing[0]} ({len(missing)} parameters of config.json); "
            "the weights are incomplete or of another model"
        )


def _loading_faults(
    name: str, model_class: Any, config: Any, shapes: _Shapes
) -> tuple[list[str], list[tuple[str, Any, Any]]]:
    """Return missing parameters, and (name, shape found, shape expected) of those of another shape."""
    import torch

    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    try:
        with torch.device("meta"):
            kind = type(model_class.from_config(config, trust_remote_code=is_trusted(name)))
        # transformers' own loader knows which names a model renames, ties, fuses or computes.
        _, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # a config's values may fail anywhere in the model's own code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KpodError(
            f"model {name}: no {model_class.__name__} can be built of its config.json ({reason}); "
            "name another model, or copy its config.json again"
        ) from error
    return sorted(info["missing_keys"]), sorted(info["mismatched_keys"])


def copy_without_tensors(filesystem: pafs.FileSystem, source: str, folder: Path) -> None:
    """Copy a model folder at an address to a local one; of safetensors files, only headers are read.

    The copied safetensors files have their full size, as holes without data. Other files of weights are
    empty, and other large files and subfolders are left out.

    Raises:
        OSError: A file can't be read or written.
    """
    for info in filesystem.get_file_info(pafs.FileSelector(source)):
        if info.type != pafs.FileType.File:
            continue
        target = folder / info.base_name
        if info.base_name.endswith(".safetensors"):
            with filesystem.open_input_file(info.path) as stream, target.open("wb") as file:
                file.writelines(_header(stream, info.size))
                file.truncate(info.size)
        elif info.base_name.endswith((".bin", ".pt", ".pth", ".ckpt", ".gguf")):
            target.touch()
        elif info.size <= _SMALL_FILE:
            with filesystem.open_input_stream(info.path) as stream:
                target.write_bytes(stream.read())


def _header(stream: Any, size: int) -> Iterator[bytes]:
    """Yield the length field and the header of a safetensors file, or what there is of them."""
    length = stream.read(8)
    yield length
    if len(length) == 8:
        yield stream.read(min(struct.unpack("<Q", length)[0], _MAX_HEADER, size))
