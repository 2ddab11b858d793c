"""Check and identify what ``schedule.embedding`` names; importing this module loads no torch."""

from __future__ import annotations

from kpod_ray.models.sources import check_model, model_hash
from kpod_ray.storage.user_files import checked_file, file_hash


def check_embedding(embedding: str | None) -> None:
    """Check that the file or model of an embedding exists, without loading it; None always passes.

    A model at an address or on the hub is looked up over the network; see `check_model`.

    Args:
        embedding: ``schedule.embedding``: None, the path of a file of word vectors, which ends in
            ``.txt``, or the name of a model.

    Raises:
        KpodError: The file doesn't exist or is a folder, or a condition of `check_model` holds.
    """
    if embedding is None:
        return
    if embedding.endswith(".txt"):
        checked_file(embedding)
    else:
        check_model(embedding)


def embedding_hash(embedding: str | None) -> str:
    """Return the content hash of an embedding, for fingerprints.

    Args:
        embedding: ``schedule.embedding``: None, the path of a file of word vectors, which ends in
            ``.txt``, or the name of a model.

    Returns:
        The hash of the word-vector file or of the encoder's local folder; empty for None and for a
        model that isn't a local folder.

    Raises:
        KpodError: The file doesn't exist, is a folder or can't be read, or the name means a local folder
            that doesn't exist or has no ``config.json``.
        OSError: A file in the encoder's folder can't be read.
    """
    if embedding is None:
        return ""
    return file_hash(embedding) if embedding.endswith(".txt") else model_hash(embedding)
