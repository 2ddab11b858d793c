"""Answer predictors, which read a question and a masked rationale prefix (Eq. 5).

The predictor is the student's own model or another model. In both cases question and rationale enter the
predictor as the student's input embeddings, projected to the predictor's width, so the student's tokens
are masked. The answer is in the predictor's vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpod_ray.algorithm.keypoint_mask import mask_embeddings
from kpod_ray.models.student import load_student
from kpod_ray.weighting.batches import MaskedSequences, continued_answer, decoded_answer

IGNORED = -100
"""Label of a position without an answer token."""


class StudentReader(nn.Module):
    """Embeds token ids with the student's input embeddings, projected to the width of the predictor.

    Args:
        embeddings: embedding layer with the student's vocabulary, which is shared, not copied.
        projection: module from the student's width to the predictor's width d, on the same device.
    """

    def __init__(self, embeddings: Any, projection: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.projection = projection

    def mean(self) -> Tensor:
        """Return the projected mean embedding of the vocabulary, [d], with gradients."""
        mean: Tensor = self.projection(self.embeddings.weight.mean(0))
        return mean

    def forward(self, ids: Tensor) -> Tensor:
        """Return the projected embeddings, [..., d], with gradients, of token ids, [...] int64."""
        embedded: Tensor = self.projection(self.embeddings(ids))
        return embedded


class MaskedReading(nn.Module):
    """Embeds sequences and replaces masked rationale tokens by a trainable vector.

    Args:
        reader: embeds token ids.
        mask_vector: [d], initial value of the vector, which is copied; on the reader's device.
    """

    def __init__(self, reader: StudentReader, mask_vector: Tensor) -> None:
        super().__init__()
        self.reader = reader
        self.mask_vector = nn.Parameter(mask_vector.detach().clone())

    def forward(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None
    ) -> Tensor:
        """Return the embeddings of the tokens before the answer, [S, L, d], with gradients.

        Only tokens of the rationale prefix are masked. The values at answer tokens and at padding are
        undefined.

        Args:
            sequences: S sequences, on the device of the parameters, as are the other tensors.
            keypoint_mask: [S, R], from 0 (masks a token) to 1 (keeps a token) (Eq. 4); only the entries
                of the prefix, the first ones of each row, have an effect.
            attended: [S, R, width of the student], replaces the embeddings of the rationale's tokens
                before projection and mask; None keeps the embeddings.
        """
        # Answer ids belong to another vocabulary and could be out of range here.
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
    """Predicts the answer from a question and a masked rationale prefix with a language model (Eq. 5).

    The attribute ``answer_ids`` is the function that tokenises answers for the predictor,
    `continued_answer` or `decoded_answer`.

    Args:
        language_model: a causal or encoder-decoder model of transformers that `load_student` accepts;
            the model is shared, not copied, and stays in training or evaluation mode.
        reading: turns sequences into the language model's input embeddings.
        compute_dtype: type of the computation under autocast; float32 means no autocast.
    """

    def __init__(
        self, language_model: Any, reading: MaskedReading, compute_dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.reading = reading
        self.compute_dtype = compute_dtype
        if language_model.config.is_encoder_decoder:
            self.answer_nll = _decoded_nll
            self.answer_ids = decoded_answer
        else:
            self.answer_nll = _continued_nll
            self.answer_ids = continued_answer

    @property
    def device(self) -> torch.device:
        """The device of the predictor's parameters."""
        return self.reading.mask_vector.device

    def forward(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None = None
    ) -> Tensor:
        """Return the negative log-likelihood of each sequence's answer, [S], float32, in nats (Eq. 5).

        The losses of the answer's tokens are summed, with gradients. The arguments are those of
        `MaskedReading.forward`; ``answer_ids`` has tokenised the answers. A causal model also reads the
        closing words, an encoder doesn't.
        """
        masked = self.reading(sequences, keypoint_mask, attended)
        is_mixed = self.compute_dtype != torch.float32
        with torch.autocast(masked.device.type, dtype=self.compute_dtype, enabled=is_mixed):
            return self.answer_nll(self.language_model, sequences, masked)


def _continued_nll(language_model: Any, sequences: MaskedSequences, masked: Tensor) -> Tensor:
    """Return the loss of the answer as the continuation by a causal model, [S], in nats."""
    is_answer = sequences.is_answer
    ids = sequences.input_ids
    own = language_model.get_input_embeddings()(ids.masked_fill(~is_answer, 0))
    hidden = language_model.base_model(
        inputs_embeds=torch.where(is_answer[..., None], own, masked),
        attention_mask=sequences.attention_mask,
        use_cache=False,
    ).last_hidden_state
    rows, columns = is_answer.nonzero(as_tuple=True)
    # Logits are float32 even under autocast: bf16 would round away small differences between masks.
    with torch.autocast(hidden.device.type, enabled=False):
        logits = hidden[rows, columns - 1].float() @ language_model.get_output_embeddings().weight.T
    nll = nn.functional.cross_entropy(logits, ids[is_answer], reduction="none")
    return torch.zeros(len(ids), device=nll.device).index_add(0, rows, nll)


def _decoded_nll(language_model: Any, sequences: MaskedSequences, masked: Tensor) -> Tensor:
    """Return the loss of the answer as the output of a decoder, [S], in nats.

    The encoder reads question and rationale prefix, without the closing words.
    """
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
    """Return a predictor around the student's language model itself, which isn't copied.

    Parameters of the language model stay trainable or frozen as they are; after `load_student` all are
    trainable. The mask vector is trainable and starts as the mean input embedding. ``compute_dtype`` is
    the type of the computation under autocast; float32 means no autocast.
    """
    reader = StudentReader(language_model.get_input_embeddings(), nn.Identity())
    return _predictor(language_model, reader, compute_dtype)


def other_predictor(name: str, student: Any, compute_dtype: torch.dtype) -> AnswerPredictor:
    """Load another model, causal or encoder-decoder, as predictor, on the CPU.

    The predictor reads a frozen copy of the student's embeddings through a trainable projection, which
    starts as the identity (a random orthogonal map from torch's global generator if the widths differ),
    scaled to the root mean square of the predictor's own embeddings. The parameters of the loaded model
    and the mask vector are trainable, too. A model on the hub is downloaded.

    Args:
        name: name of the model, as in a config; see `models.sources`.
        student: language model of the student, in float32 and on the CPU.
        compute_dtype: type of the computation under autocast; float32 means no autocast.

    Raises:
        KpodError, OSError, ValueError: As in `load_student`.
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
    # A masked token starts as the mean embedding, which carries no word.
    reading = MaskedReading(reader, reader.mean())
    return AnswerPredictor(language_model, reading, compute_dtype)
