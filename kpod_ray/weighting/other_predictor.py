"""An answer predictor made of another model than the student, whose vocabulary may be another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpod_ray.data.tokens import control_tokens
from kpod_ray.errors import KpodError
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.weighting.predictors import IGNORED, AnswerPredictor, StudentReader, build_predictor

_BLANKS = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n"})
"""White space as vocabularies write it."""


def other_predictor(
    name: str, student: Any, tokenizer: Any, compute_dtype: torch.dtype
) -> AnswerPredictor:
    """Load another model, causal or encoder-decoder, as predictor, on the CPU.

    The predictor reads a frozen copy of the student's embeddings through a trainable projection. The
    projection starts as the least-squares map from the student's embeddings to the predictor's over the
    tokens that both vocabularies spell alike, scaled to the root mean square of the predictor's
    embeddings. The parameters of the loaded model and the mask vector are trainable, too. A model on the
    hub is downloaded.

    Args:
        name: name of the model, as in a config; see `models.sources`.
        student: language model of the student, in float32 and on the CPU.
        tokenizer: tokenizer of the student.
        compute_dtype: type of the computation under autocast; float32 means no autocast.

    Raises:
        KpodError, OSError, ValueError: As in `load_student` and `load_tokenizer`.
        KpodError: No token is spelled alike in both vocabularies.
    """
    language_model = load_student(name, compute_dtype).language_model
    table = student.get_input_embeddings().weight.detach().clone()
    own = language_model.get_input_embeddings().weight.detach()
    aligned = aligned_ids(tokenizer, load_tokenizer(name), len(table))
    is_shared = aligned != IGNORED
    if not bool(is_shared.any()):
        raise KpodError(f"weighting.predictor: {name} has no token in common with the student")
    projection = nn.Linear(table.shape[1], own.shape[1], bias=False)
    with torch.no_grad():
        # gelsy finds the smallest solution where fewer tokens are shared than the width demands, and is
        # many times faster than gelsd for wide models.
        solution = torch.linalg.lstsq(
            table[is_shared], own[aligned[is_shared]], driver="gelsy"
        ).solution
        projection.weight.copy_(solution.T)
        projection.weight *= own.square().mean().sqrt() / projection(table).square().mean().sqrt()
    reader = StudentReader(nn.Embedding.from_pretrained(table, freeze=True), projection)
    return build_predictor(language_model, reader, aligned, compute_dtype)


def aligned_ids(student: Any, predictor: Any, num_ids: int) -> Tensor:
    """Return for each token id of a student the predictor's id of the same spelling, [num_ids] int64.

    The result is `IGNORED` where the predictor's vocabulary has no such token. Special tokens have no
    spelling.

    Args:
        student: tokenizer of the student.
        predictor: tokenizer of the predictor.
        num_ids: number of embeddings of the student, at least that of the token ids.
    """
    aligned = torch.full((num_ids,), IGNORED)
    own = _spelled(predictor)
    for spelling, index in _spelled(student).items():
        aligned[index] = own.get(spelling, IGNORED)
    return aligned


def _spelled(tokenizer: Any) -> dict[str, int]:
    """Return spelling -> id of the tokens that aren't special.

    SentencePiece writes a blank as ``\u2581``, byte-level vocabularies write a blank as ``\u0120`` and a
    newline as ``\u010a``. Their other tokens outside ASCII agree by chance alone, which is rare.
    """
    special = set(control_tokens(tokenizer).values())
    return {
        token.translate(_BLANKS): index
        for token, index in tokenizer.get_vocab().items()
        if index not in special
    }
