"""Answer predictors, which read a question and a masked rationale prefix (Eq. 5).

The predictor is the student's own model or another model. In both cases question and rationale enter the
predictor as the student's input embeddings, projected to the predictor's width, so the student's tokens
are masked. The answer is in the predictor's vocabulary.

A causal predictor adapts with the answer's loss and with the language-model loss of the rationale's
tokens, both from one forward pass. An encoder-decoder adapts with the answer's loss alone: the encoder
reads the whole masked prefix at once, so that no token before the answer is predicted, and the rest of
the rationale as a second target of the decoder would double the cost.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kpod_ray.algorithm.keypoint_mask import mask_embeddings
from kpod_ray.algorithm.loss import weighted_nll
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
        in_prefix = sequences.in_prefix()
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
        label_ids: [V] int64, the predictor's token id of each token id of the student, or `IGNORED`.
        compute_dtype: type of the computation under autocast; float32 means no autocast.
    """

    label_ids: Tensor

    def __init__(
        self,
        language_model: Any,
        reading: MaskedReading,
        label_ids: Tensor,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.reading = reading
        self.compute_dtype = compute_dtype
        self.register_buffer("label_ids", label_ids, persistent=False)
        if language_model.config.is_encoder_decoder:
            self.answer_nll = _decoded_nll
            self.rationale_loss = _no_rationale_loss
            self.answer_ids = decoded_answer
        else:
            self.answer_nll = _continued_nll
            self.rationale_loss = _continued_rationale_loss
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
        `MaskedReading.forward`; ``answer_ids`` has tokenised the answers.
        """
        return self._read(sequences, keypoint_mask, attended)[1]

    def adaptation_losses(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the adaptation, float32, in nats, with gradients.

        The arguments are those of `forward`.

        Returns:
            The answer losses of `forward`, [S]; and the sum over the sequences of the mean loss of the
            prefix's tokens, each predicted from the masked tokens before it, a scalar. The scalar is 0
            for an encoder-decoder. Tokens that the predictor's vocabulary lacks are left out.
        """
        hidden, answer_nll = self._read(sequences, keypoint_mask, attended)
        return answer_nll, self.rationale_loss(self, sequences, hidden)

    def _read(
        self, sequences: MaskedSequences, keypoint_mask: Tensor, attended: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the hidden states of the tokens that were read, and the losses of the answers."""
        masked = self.reading(sequences, keypoint_mask, attended)
        is_mixed = self.compute_dtype != torch.float32
        with torch.autocast(masked.device.type, dtype=self.compute_dtype, enabled=is_mixed):
            return self.answer_nll(self.language_model, sequences, masked)


def _continued_nll(
    language_model: Any, sequences: MaskedSequences, masked: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the hidden states, [S, L, d], of a causal model, and the losses of the answers, [S]."""
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
    return hidden, torch.zeros(len(ids), device=nll.device).index_add(0, rows, nll)


def _continued_rationale_loss(
    predictor: AnswerPredictor, sequences: MaskedSequences, hidden: Tensor
) -> Tensor:
    """Return the mean loss of the prefix's tokens under a causal model, summed over the sequences."""
    labels = predictor.label_ids[sequences.input_ids.masked_fill(sequences.is_answer, 0)]
    rows, columns = (sequences.in_prefix() & (labels != IGNORED)).nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(labels))
    total, _, _ = weighted_nll(
        hidden[rows, columns - 1].to(predictor.compute_dtype),
        predictor.language_model.get_output_embeddings().weight,
        labels[rows, columns],
        1 / counts[rows],
    )
    return total


def _no_rationale_loss(
    predictor: AnswerPredictor, sequences: MaskedSequences, hidden: Tensor
) -> Tensor:
    """Return a loss of 0."""
    return torch.zeros((), device=hidden.device)


def _decoded_nll(
    language_model: Any, sequences: MaskedSequences, masked: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the hidden states of an encoder, [S, L, d], and the losses of the decoded answers, [S].

    The encoder reads the question, the prefix, the closing words and the model's end token.
    """
    num_read = sequences.attention_mask.sum(1) - sequences.is_answer.sum(1)
    columns = torch.arange(int(num_read.max()) + 1, device=masked.device)
    end_id = torch.tensor(language_model.config.eos_token_id, device=masked.device)
    end = language_model.get_input_embeddings()(end_id)
    # One more column: the longest sequence may fill all columns of the student's tokens.
    read = nn.functional.pad(masked, (0, 0, 0, 1))[:, : len(columns)]
    answers = sequences.input_ids[sequences.is_answer].split(sequences.is_answer.sum(1).tolist())
    labels = nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=IGNORED)
    output = language_model(
        inputs_embeds=torch.where((columns == num_read[:, None])[..., None], end, read),
        attention_mask=(columns <= num_read[:, None]).long(),
        labels=labels,
        use_cache=False,
    )
    nll = nn.functional.cross_entropy(
        output.logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none"
    )
    return output.encoder_last_hidden_state, nll.sum(1)


def student_predictor(language_model: Any, compute_dtype: torch.dtype) -> AnswerPredictor:
    """Return a predictor around the student's language model itself, which isn't copied.

    Parameters of the language model stay trainable or frozen as they are; after `load_student` all are
    trainable. The mask vector is trainable and starts as the mean input embedding. ``compute_dtype`` is
    the type of the computation under autocast; float32 means no autocast.
    """
    embeddings = language_model.get_input_embeddings()
    own_ids = torch.arange(len(embeddings.weight))
    return build_predictor(
        language_model, StudentReader(embeddings, nn.Identity()), own_ids, compute_dtype
    )


def build_predictor(
    language_model: Any, reader: StudentReader, label_ids: Tensor, compute_dtype: torch.dtype
) -> AnswerPredictor:
    """Return a predictor whose trainable mask vector starts as the mean embedding that it reads.

    The arguments are those of `AnswerPredictor`; ``reader`` embeds the student's tokens.
    """
    # The mean embedding carries no word.
    reading = MaskedReading(reader, reader.mean())
    return AnswerPredictor(language_model, reading, label_ids, compute_dtype)
