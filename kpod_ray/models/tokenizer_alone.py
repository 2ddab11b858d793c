"""Load the tokenizer of a model without downloading or converting the model's parameters."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer

from kpod_ray.models.custom_code import load_pretrained, plain_name, with_trust_of
from kpod_ray.models.sources import MODEL_CACHE, checked_address, packaged_source
from kpod_ray.models.student import load_tokenizer
from kpod_ray.models.weight_files import copy_without_tensors
from kpod_ray.storage.scratch import temporary_folder


def load_tokenizer_alone(name: str) -> Any:
    """Load the tokenizer of a model as `load_tokenizer` does, whose errors apply.

    Of a model at an address, only the small files are copied, to a temporary folder. The tokenizer of a
    packaged GGUF file is read from the file if the model isn't in the cache yet.

    Raises:
        KpodError: The address can't be opened, contains a key, or holds no model.
    """
    plain = plain_name(name)
    kind, _, rest = plain.partition(":")
    if kind == "packaged" and not (MODEL_CACHE / rest).exists():
        source, file = packaged_source(rest)
        if file.endswith(".gguf"):
            return load_pretrained(AutoTokenizer, name, source, gguf_file=file)
    if "://" not in plain:
        return load_tokenizer(name)
    filesystem, path = checked_address(plain)
    with temporary_folder() as folder:
        copy_without_tensors(filesystem, path, folder)
        return load_tokenizer(with_trust_of(str(folder), name))
