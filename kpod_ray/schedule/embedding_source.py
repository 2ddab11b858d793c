"""Check and identify what ``schedule.embedding`` names; importing this module loads no torch."""

from __future__ import annotations

from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.sources import model_hash
from kpod_ray.storage.user_files import checked_file, file_hash


def check_embedding(embedding: str | None) -> None:
    """Check the file or model of ``schedule.embedding``, without loading it; None passes.

    A name that ends in ``.txt`` is a file of word vectors, of which only the existence is checked; any
    other is a model. A model at an address or on the hub is looked up over the network.

    Raises:
        KpodError: The file doesn't exist or is a folder, or as in `check_model`.
    """
    if embedding is None:
        return
    if embedding.endswith(".txt"):
        checked_file(embedding)
    else:
        check_model(embedding, ModelUse("encoder"))


def embedding_hash(embedding: str | None) -> str:
    """Return the content hash of ``schedule.embedding`` in hexadecimal, for fingerprints.

    The hash is the one of a word-vector file (a name that ends in ``.txt``) or of a model's local
    folder; empty for None and for a model that isn't a local folder.

    Raises:
        KpodError: The file doesn't exist, is a folder or can't be read, or the name means a local folder
            that doesn't exist or has no ``config.json``.
    """
    if embedding is None:
        return ""
    return file_hash(embedding) if embedding.endswith(".txt") else model_hash(embedding)
