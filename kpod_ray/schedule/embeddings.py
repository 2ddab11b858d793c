"""Vectors of questions, which the schedule clusters.

``schedule.embedding`` chooses the source: the student's input embeddings (None), a ``.txt`` file of word
vectors, or a sentence encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer

from kpod_ray.data.tokens import encode_text
from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import load_pretrained
from kpod_ray.models.device import device
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.storage.bad_rows import place
from kpod_ray.storage.user_files import checked_file

FloatArray = npt.NDArray[np.float32]
BATCH_SIZE = 64
"""Texts of one forward pass of a sentence encoder."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]")


def embed_questions(
    texts: Sequence[str], embedding: str | None, student: str
) -> npt.NDArray[np.float32]:
    """Return a vector of unit length for each text.

    `mean_embeddings`, `word_vector_means` or `encode_texts` computes the vectors. A model on the hub is
    downloaded. Errors of these functions and of `model_folder`, `load_student` and `load_tokenizer` pass
    through.

    Args:
        texts: Q texts of questions, at least one.
        embedding: ``schedule.embedding``: None, the path of a file of word vectors, which ends in
            ``.txt``, or the name of a sentence encoder.
        student: Name of the model whose input embeddings are averaged when ``embedding`` is None.

    Returns:
        float32 [Q, d]; the zero vector for a text without a token, or without a word that has a vector.
    """
    if embedding is None:
        model = load_student(student, torch.float32).language_model
        table = model.get_input_embeddings().weight.detach().numpy()
        return mean_embeddings(load_tokenizer(student), table, texts)
    if embedding.endswith(".txt"):
        return word_vector_means(embedding, texts)
    return encode_texts(embedding, texts)


def mean_embeddings(tokenizer: Any, table: FloatArray, texts: Sequence[str]) -> FloatArray:
    """Return the mean input embedding of each text's tokens, scaled to unit length.

    A text is tokenized without special tokens and not truncated; a token counts as often as it occurs.

    ``table`` [V, d] holds the input embeddings of the tokenizer's model. The result is float32 [Q, d]
    for Q texts, at least one, with the zero vector for a text without tokens.
    """
    result = np.zeros((len(texts), table.shape[1]), dtype=np.float32)
    for row, text in enumerate(texts):
        if ids := encode_text(tokenizer, text).ids:
            result[row] = table[ids].mean(0)
    return unit_length(result)


def word_vector_means(path: str, texts: Sequence[str]) -> FloatArray:
    """Return the mean vector of each text's words, scaled to unit length, as in the paper.

    A word is a run of letters, a number such as "1,000.5" or a single punctuation mark. The words of the
    texts are put in lower case, those of the file aren't. Words without a vector are ignored; a word
    counts as often as it occurs.

    Args:
        path: Text file of word vectors, UTF-8, with one line ``word v1 v2 ...`` for each word, with
            single blanks (GloVe's format). Of two lines for one word, the last is used.
        texts: Q texts.

    Returns:
        float32 [Q, d]; the zero vector for a text in which no word has a vector.

    Raises:
        KpodError: The file doesn't exist or is a folder; the line of a word of the texts has no numbers,
            a value that is no finite number, or another number of values than the first such line; or no
            word of the texts has a vector.
    """
    words_of_texts = [_WORD.findall(text.lower()) for text in texts]
    vocabulary = {word for words in words_of_texts for word in words}
    vectors = dict(_read_vectors(checked_file(path), vocabulary))
    if not vectors:
        raise KpodError(f"{path} has no vector for any word of the questions")
    width = len(next(iter(vectors.values())))
    result = np.zeros((len(texts), width), dtype=np.float32)
    for row, words in enumerate(words_of_texts):
        found = [vectors[word] for word in words if word in vectors]
        if found:
            result[row] = np.mean(found, axis=0)
    return unit_length(result)


def unit_length(vectors: FloatArray) -> FloatArray:
    """Return a new array with vectors [Q, d] scaled to Euclidean length 1; zero vectors stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)


@torch.no_grad()
def encode_texts(name: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the mean of a sentence encoder's last hidden states over each text, of unit length.

    The mean is over all tokens of the text, special tokens included. The encoder computes in float32 on
    the GPU if the process sees one, else on the CPU.

    Args:
        name: Name of an encoder such as all-MiniLM-L6-v2, with ``max_position_embeddings`` in its
            config. A model on the hub is downloaded.
        texts: Q texts, at least one; a text of over ``max_position_embeddings`` tokens is truncated.

    Returns:
        float32 [Q, d].

    Raises:
        KpodError: transformers can't load the tokenizer or the model.
        ValueError: The tokenizer has no padding token.
    """
    try:
        folder = model_folder(name)
        tokenizer = load_pretrained(AutoTokenizer, name, folder)
        encoder = load_pretrained(
            AutoModel, name, folder, dtype=torch.float32, use_safetensors=True
        ).eval()
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise KpodError(f"schedule.embedding {name} is no sentence encoder: {reason}") from error
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
        texts,
        padding=True,
        truncation=True,
        max_length=longest,
        return_tensors="pt",
        split_special_tokens=True,
    ).to(encoder.device)
    hidden = encoder(**batch).last_hidden_state
    mask = batch.attention_mask[..., None].float()
    means = (hidden * mask).sum(1) / mask.sum(1).clamp_min(1)
    result: npt.NDArray[np.float32] = means.cpu().numpy()
    return result


def _read_vectors(file: Path, vocabulary: set[str]) -> Iterator[tuple[str, FloatArray]]:
    """Yield the vector of every word of the vocabulary; a whole GloVe file would take a gigabyte."""
    width = None
    with file.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            word, _, rest = line.rstrip().partition(" ")
            if word not in vocabulary:
                continue
            try:
                vector = np.array(rest.split(" "), dtype=np.float32)
            except ValueError:
                vector = np.empty(0, dtype=np.float32)
            width = width or vector.size
            if not vector.size or vector.size != width or not np.isfinite(vector).all():
                where = place(str(file), number)
                raise KpodError(f"{where}: expected a word and {width or 'its'} numbers")
            yield word, vector
