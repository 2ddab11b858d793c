"""Vectors of questions for their clusters: from the student, a sentence encoder or word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from kpod_ray.errors import KpodError
from kpod_ray.models.sources import MODEL_CACHE, check_model, model_folder, model_hash
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.schedule.clustering import mean_embeddings, unit_length, word_vector_means
from kpod_ray.storage.user_files import checked_file, file_hash

BATCH_SIZE = 64
"""Texts that an encoder reads at once."""


def embed_questions(
    texts: Sequence[str], embedding: str | None, student: str
) -> npt.NDArray[np.float32]:
    """Return a vector of unit length for each text, [Q, d].

    Args:
        texts: Q questions.
        embedding: ``schedule.embedding``: None, a ``.txt`` file of word vectors, or an encoder.
        student: model whose input embeddings are averaged when ``embedding`` is None.

    Raises:
        KpodError: The file or the model isn't there, or can't be used.
    """
    if embedding is None:
        folder = model_folder(student, MODEL_CACHE)
        model = load_student(folder, torch.float32).language_model
        table = model.get_input_embeddings().weight.detach().numpy()
        return mean_embeddings(load_tokenizer(folder), table, texts)
    if embedding.endswith(".txt"):
        return word_vector_means(embedding, texts)
    return encode_texts(model_folder(embedding, MODEL_CACHE), texts)


def check_embedding(embedding: str | None) -> None:
    """Check, without loading anything, that an embedding can be had.

    Raises:
        KpodError: It isn't there.
    """
    if embedding is None:
        return
    if embedding.endswith(".txt"):
        checked_file(embedding)
    else:
        check_model(embedding)


def embedding_hash(embedding: str | None) -> str:
    """Return what identifies an embedding's content beyond its name; empty if there is no more."""
    if embedding is None:
        return ""
    return file_hash(embedding) if embedding.endswith(".txt") else model_hash(embedding)


@torch.no_grad()
def encode_texts(folder: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the mean of an encoder's last hidden states over each text, scaled to unit length.

    Args:
        folder: folder or hub name of an encoder such as all-MiniLM-L6-v2.
        texts: Q texts; what is longer than the encoder reads is cut off.

    Returns:
        [Q, d].

    Raises:
        KpodError: It is no encoder of texts.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise KpodError(f"schedule.embedding {folder} is no sentence encoder: {reason}") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder.to(device)
    # Texts of like length together: padding costs as much as text.
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [
        _encode_batch(tokenizer, encoder, [texts[i] for i in order[start : start + BATCH_SIZE]])
        for start in range(0, len(order), BATCH_SIZE)
    ]
    result = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return unit_length(result)


def _encode_batch(tokenizer: Any, encoder: Any, texts: list[str]) -> npt.NDArray[np.float32]:
    longest = encoder.config.max_position_embeddings
    batch = tokenizer(
        texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
    ).to(encoder.device)
    hidden = encoder(**batch).last_hidden_state
    mask = batch.attention_mask[..., None].float()
    means = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
    result: npt.NDArray[np.float32] = means.cpu().numpy()
    return result
