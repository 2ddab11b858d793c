"""The models that predict the answer from a question and a masked rationale prefix (Eq. 5).

Both read the question and the rationale by the student's input embeddings, so that the tokens that
are masked are the student's; the answer is written in the predictor's own vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpod_ray.algorithm.keypoint_mask import mask_embeddings
from kpod_ray.models.student import load_student
from kpod_ray.weighting.batches import MaskedSequences, continued_answer, decoded_answer

IGNORED = -100
"""Label of a place without an answer token."""


class StudentReader(nn.Module):
    """The student's input embeddings, brought to the width of whoever reads them."""

    def __init__(self, embeddings: Any, projection: nn.Module) -> None:
        super().__init__()
        self.embeddings, self.projection = embeddings, projection

    def mean(self) -> Tensor:
        """Return the mean over the vocabulary, [d]."""
        mean: Tensor = self.projection(self.embeddings.weight.mean(0))
        return mean

    def forward(self, ids: Tensor) -> Tensor:
        """Return [..., d] for ids of the student's vocabulary."""
        embedded: Tensor = self.projection(self.embeddings(ids))
        return embedded


class MaskedReading(nn.Module):
    """Turns sequences with a keypoint mask into embeddings; it owns the vector of a masked token."""

    def __init__(self, reader: StudentReader, mask_vector: Tensor) -> None:
        super().__init__()
        self.reader = reader
        self.mask_vector = nn.Parameter(mask_vector.detach().clone())

    def forward(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None
    ) -> Tensor:
        """Return the embeddings of all that stands before the answer, [S, L, d].

        Args:
            sequences: what is read.
            keypoint_mask: [S, R], 1 = kept; only the first k entries of each row have an effect.
            attended: [S, R, d of the student], takes the place of the rationale's embeddings; None
                takes the reader's.
        """
        embedded = self.reader(sequences.input_ids.masked_fill(sequences.is_answer, 0))
        columns = torch.arange(sequences.input_ids.shape[1], device=keypoint_mask.device)
        offsets = columns[None] - sequences.prefix_starts[:, None]
        in_prefix = (offsets >= 0) & (offsets < sequences.prefix_lengths[:, None])
        places = offsets.clamp(0, keypoint_mask.shape[1] - 1)
        if attended is not None:
            rows = torch.arange(len(places), device=places.device)[:, None]
            projected = self.reader.projection(attended)[rows, places]
            embedded = torch.where(in_prefix[..., None], projected, embedded)
        kept = torch.where(in_prefix, keypoint_mask.gather(1, places), 1.0)
        return mask_embeddings(embedded, kept, self.mask_vector)


class AnswerPredictor(nn.Module):
    """A language model that predicts the answer from a question and a masked rationale prefix."""

    def __init__(
        self, language_model: Any, reading: MaskedReading, compute_dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.language_model, self.reading = language_model, reading
        self.compute_dtype = compute_dtype
        if language_model.config.is_encoder_decoder:
            self.answer_nll, self.answer_ids = _decoded_nll, decoded_answer
        else:
            self.answer_nll, self.answer_ids = _continued_nll, continued_answer

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.reading.mask_vector.device

    def forward(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None = None
    ) -> Tensor:
        """Return each sequence's negative log-likelihood of its answer, [S], in nats (Eq. 5).

        The arguments are those of `MaskedReading`.
        """
        masked = self.reading(sequences, keypoint_mask, attended)
        is_mixed = self.compute_dtype != torch.float32
        with torch.autocast(masked.device.type, dtype=self.compute_dtype, enabled=is_mixed):
            return self.answer_nll(self.language_model, sequences, masked)


def _continued_nll(language_model: Any, sequences: MaskedSequences, masked: Tensor) -> Tensor:
    """A causal model continues question, prefix and closing words with the answer."""
    is_answer, ids = sequences.is_answer, sequences.input_ids
    own = language_model.get_input_embeddings()(ids.masked_fill(~is_answer, 0))
    hidden = language_model.base_model(
        inputs_embeds=torch.where(is_answer[..., None], own, masked),
        attention_mask=sequences.attention_mask,
        use_cache=False,
    ).last_hidden_state
    rows, columns = is_answer.nonzero(as_tuple=True)
    with torch.autocast(hidden.device.type, enabled=False):
        logits = hidden[rows, columns - 1].float() @ language_model.get_output_embeddings().weight.T
    nll = nn.functional.cross_entropy(logits, ids[is_answer], reduction="none")
    return torch.zeros(len(ids), device=nll.device).index_add(0, rows, nll)


def _decoded_nll(language_model: Any, sequences: MaskedSequences, masked: Tensor) -> Tensor:
    """The encoder reads question and prefix, the decoder writes the answer."""
    num_read = sequences.prefix_starts + sequences.prefix_lengths
    columns = torch.arange(int(num_read.max()), device=masked.device)
    answers = sequences.input_ids[sequences.is_answer].split(sequences.is_answer.sum(1).tolist())
    labels = nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=IGNORED)
    logits = language_model(
        inputs_embeds=masked[:, : len(columns)],
        attention_mask=(columns[None] < num_read[:, None]).long(),
        labels=labels,
        use_cache=False,
    ).logits
    nll = nn.functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return nll.sum(1)


def student_predictor(language_model: Any, compute_dtype: torch.dtype) -> AnswerPredictor:
    """Return the student as its own predictor: it reads by its own embeddings, which may learn."""
    reader = StudentReader(language_model.get_input_embeddings(), nn.Identity())
    return _predictor(language_model, reader, compute_dtype)


def other_predictor(name: str, student: Any, compute_dtype: torch.dtype) -> AnswerPredictor:
    """Load another model as predictor, causal or encoder-decoder.

    It reads the student's frozen embeddings through a learnt projection, which starts as the identity
    (of another width: as an orthogonal map), scaled to what the predictor is used to.

    Args:
        name: of the model, as in a config; see `models.sources`.
        student: language model whose input embeddings are read.
        compute_dtype: of its arithmetic.
    """
    language_model = load_student(name, compute_dtype).language_model
    table = student.get_input_embeddings().weight.detach().clone()
    own = language_model.get_input_embeddings().weight.detach()
    projection = nn.Linear(table.shape[1], own.shape[1], bias=False)
    is_square = table.shape[1] == own.shape[1]
    (nn.init.eye_ if is_square else nn.init.orthogonal_)(projection.weight)
    with torch.no_grad():
        projection.weight *= own.square().mean().sqrt() / projection(table).square().mean().sqrt()
    reader = StudentReader(nn.Embedding.from_pretrained(table, freeze=True), projection)
    return _predictor(language_model, reader, compute_dtype)


def _predictor(
    language_model: Any, reader: StudentReader, compute_dtype: torch.dtype
) -> AnswerPredictor:
    reading = MaskedReading(reader, reader.mean())
    return AnswerPredictor(language_model, reading, compute_dtype)
