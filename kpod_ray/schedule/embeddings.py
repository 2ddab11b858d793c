"""Vectors of questions, which the schedule clusters.

``schedule.embedding`` chooses the source: the student's input embeddings (None), a ``.txt`` file of word
vectors, or a sentence encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from kpod_ray.errors import KpodError
from kpod_ray.models.device import device
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.schedule.clustering import mean_embeddings, unit_length, word_vector_means

BATCH_SIZE = 64
"""Texts of one forward pass of a sentence encoder."""


def embed_questions(
    texts: Sequence[str], embedding: str | None, student: str
) -> npt.NDArray[np.float32]:
    """Return a vector of unit length for each text.

    Args:
        texts: Q questions.
        embedding: ``schedule.embedding``: None, a ``.txt`` file of word vectors, or a sentence encoder.
        student: Name of the model whose input embeddings are averaged when ``embedding`` is None.

    Returns:
        [Q, d].

    Raises:
        KpodError: The file or the model doesn't exist or can't be used.
    """
    if embedding is None:
        model = load_student(student, torch.float32).language_model
        table = model.get_input_embeddings().weight.detach().numpy()
        return mean_embeddings(load_tokenizer(student), table, texts)
    if embedding.endswith(".txt"):
        return word_vector_means(embedding, texts)
    return encode_texts(model_folder(embedding), texts)


@torch.no_grad()
def encode_texts(folder: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the mean of a sentence encoder's last hidden states over each text, of unit length.

    Args:
        folder: Folder or hub name of an encoder such as all-MiniLM-L6-v2.
        texts: Q texts; a text longer than the encoder's context is truncated.

    Returns:
        [Q, d].

    Raises:
        KpodError: The model can't be loaded as a sentence encoder.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise KpodError(f"schedule.embedding {folder} is no sentence encoder: {reason}") from error
    encoder.to(device())
    # Batches hold texts of similar length: padding costs as much time as text.
    order = np.argsort([len(text) for text in texts], kind="stable")
    parts = [
        _encode_batch(tokenizer, encoder, [texts[i] for i in order[start : start + BATCH_SIZE]])
        for start in range(0, len(order), BATCH_SIZE)
    ]
    result = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return unit_length(result)


def _encode_batch(tokenizer: Any, encoder: Any, texts: list[str]) -> npt.NDArray[np.float32]:
    """Return the mean of the last hidden states over the tokens of each text, [len(texts), d]."""
    longest = encoder.config.max_position_embeddings
    batch = tokenizer(
        texts, padding=True, truncation=True, max_length=longest, return_tensors="pt"
    ).to(encoder.device)
    hidden = encoder(**batch).last_hidden_state
    mask = batch.attention_mask[..., None].float()
    means = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
    result: npt.NDArray[np.float32] = means.cpu().numpy()
    return result
