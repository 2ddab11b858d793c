"""Answer predictors: the mask acts on the prefix and nowhere else, whichever model reads it."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import T5ForConditionalGeneration

from kpod_ray.errors import KpodError
from kpod_ray.models.random_models import byte_tokenizer
from kpod_ray.models.sources import is_encoder_decoder, model_folder
from kpod_ray.models.student import load_student
from kpod_ray.weighting.batches import Prefix, collate_masked
from kpod_ray.weighting.other_predictor import aligned_ids, other_predictor
from kpod_ray.weighting.predictors import student_predictor

PREFIXES = [4, 20, 9]
PAD = 258


@pytest.fixture(scope="module")
def sequences(masked_examples):
    prefixes = [Prefix(row, length, 1.0) for row, length in enumerate(PREFIXES)]
    return collate_masked(masked_examples, prefixes, PAD).sequences


@pytest.fixture
def student(tiny_folder):
    return load_student(tiny_folder, torch.float32).language_model


@pytest.fixture(params=["student", "T5 student", "other causal", "encoder-decoder"])
def predictor(request, student, t5_folder, tiny_tokenizer):
    torch.manual_seed(0)
    if request.param == "student":
        made = student_predictor(student, torch.float32)
    elif request.param == "T5 student":
        folder = model_folder("tiny-t5:1")
        made = student_predictor(load_student(folder, torch.float32).language_model, torch.float32)
    elif request.param == "other causal":
        made = other_predictor(model_folder("tiny:1"), student, tiny_tokenizer, torch.float32)
    else:
        made = other_predictor(t5_folder, student, tiny_tokenizer, torch.float32)
    return made.requires_grad_(False)


def random_mask(seed=0):
    return torch.rand(3, 37, generator=torch.Generator().manual_seed(seed))


def with_ids(sequences, row, column, token):
    input_ids = sequences.input_ids.clone()
    input_ids[row, column] = token
    return dataclasses.replace(sequences, input_ids=input_ids)


def test_an_unmasked_rationale_gives_the_students_own_answer_loss(
    student, masked_examples, sequences
):
    expected = []
    for example, length in zip(masked_examples, PREFIXES, strict=True):
        context = [*example.prompt_ids, *example.rationale_ids[:length], *example.closing_ids]
        ids = torch.tensor([[*context, *example.answer_ids]])
        logits = student(ids).logits[0, len(context) - 1 : -1]
        labels = torch.tensor(example.answer_ids)
        expected.append(F.cross_entropy(logits, labels, reduction="sum"))
    answer_nll = student_predictor(student, torch.float32)(sequences, torch.ones(3, 37))
    torch.testing.assert_close(answer_nll, torch.stack(expected))


def test_an_encoder_decoder_reads_projected_question_and_prefix_and_writes_the_answer(
    student, t5_folder, tiny_tokenizer, masked_examples, sequences
):
    predictor = other_predictor(t5_folder, student, tiny_tokenizer, torch.float32)
    t5 = T5ForConditionalGeneration.from_pretrained(t5_folder)
    expected = []
    for example, length in zip(masked_examples, PREFIXES, strict=True):
        read = [*example.prompt_ids, *example.rationale_ids[:length], *example.closing_ids]
        own = student.get_input_embeddings()(torch.tensor([read]))
        end = t5.get_input_embeddings()(torch.tensor([[t5.config.eos_token_id]]))
        embedded = torch.cat([predictor.reading.reader.projection(own), end], 1)
        answer = torch.tensor([example.answer_ids])
        mean_nll = t5(inputs_embeds=embedded, labels=answer).loss
        expected.append(mean_nll * len(example.answer_ids))
    answer_nll = predictor(sequences, torch.ones(3, 37))
    torch.testing.assert_close(answer_nll, torch.stack(expected))


def test_the_mask_acts_on_the_prefix_alone(predictor, sequences):
    keypoint_mask = random_mask()
    answer_nll = predictor(sequences, keypoint_mask)
    outside = torch.arange(37)[None] >= sequences.prefix_lengths[:, None]
    changed_outside = torch.where(outside, 1 - keypoint_mask, keypoint_mask)
    torch.testing.assert_close(predictor(sequences, changed_outside), answer_nll, rtol=0, atol=0)
    for row, length in enumerate(PREFIXES):
        for position in (0, length - 1):
            changed = keypoint_mask.clone()
            changed[row, position] = 1 - changed[row, position]
            differs = predictor(sequences, changed) != answer_nll
            assert differs.tolist() == [i == row for i in range(3)]


def test_the_id_of_a_masked_token_has_no_influence(predictor, sequences):
    keypoint_mask = torch.ones(3, 37)
    keypoint_mask[1, 2] = 0
    answer_nll = predictor(sequences, keypoint_mask)
    first = int(sequences.prefix_starts[1])
    masked = with_ids(sequences, 1, first + 2, 7)
    torch.testing.assert_close(predictor(masked, keypoint_mask), answer_nll, rtol=0, atol=0)
    kept = with_ids(sequences, 1, first + 3, 7)
    assert predictor(kept, keypoint_mask)[1] != answer_nll[1]


def test_the_question_is_never_masked(predictor, sequences):
    nothing_kept = torch.zeros(3, 37)
    changed = with_ids(sequences, 1, int(sequences.prefix_starts[1]) - 1, 7)
    assert predictor(changed, nothing_kept)[1] != predictor(sequences, nothing_kept)[1]


def test_the_closing_words_are_never_masked(student, sequences):
    predictor, nothing_kept = student_predictor(student, torch.float32), torch.zeros(3, 37)
    changed = with_ids(sequences, 1, int(sequences.prefix_starts[1]) + PREFIXES[1], 7)
    assert predictor(changed, nothing_kept)[1] != predictor(sequences, nothing_kept)[1]


def test_a_masked_token_is_the_mask_vector(predictor, sequences):
    nothing_kept, everything = torch.zeros(3, 37), torch.ones(3, 37)
    before, kept = (predictor(sequences, mask) for mask in (nothing_kept, everything))
    with torch.no_grad():
        predictor.reading.mask_vector.add_(
            torch.linspace(-1, 1, len(predictor.reading.mask_vector))
        )
    assert (predictor(sequences, nothing_kept) != before).all()
    torch.testing.assert_close(predictor(sequences, everything), kept, rtol=0, atol=0)


def test_what_is_attended_takes_the_place_of_the_rationales_embeddings(
    predictor, masked_examples, sequences
):
    keypoint_mask = random_mask()
    rationales = collate_masked(masked_examples, [Prefix(0, 1, 1.0)], PAD).rationale_ids
    embedded = predictor.reading.reader.embeddings(rationales)
    plain = predictor(sequences, keypoint_mask)
    torch.testing.assert_close(predictor(sequences, keypoint_mask, embedded), plain)
    changed = embedded.clone()
    changed[1, PREFIXES[1] - 1] += 1
    differs = predictor(sequences, keypoint_mask, changed) != plain
    assert bool(differs[1])
    beyond = embedded.clone()
    beyond[1, PREFIXES[1]] += 1
    torch.testing.assert_close(predictor(sequences, keypoint_mask, beyond), plain)


def test_the_mask_vector_starts_as_the_mean_embedding(student):
    table = student.get_input_embeddings().weight
    vector = student_predictor(student, torch.float32).reading.mask_vector
    torch.testing.assert_close(vector, table.mean(0))


def test_another_predictor_reads_the_students_embeddings_frozen_at_its_own_scale(predictor):
    reader = predictor.reading.reader
    own = predictor.language_model.get_input_embeddings().weight
    read = reader(torch.arange(len(reader.embeddings.weight)))
    assert read.shape[-1] == own.shape[1]
    torch.testing.assert_close(read.square().mean(), own.square().mean())


def test_the_projection_starts_as_the_least_squares_map_of_shared_tokens(student, tiny_tokenizer):
    made = other_predictor(model_folder("tiny:1"), student, tiny_tokenizer, torch.float32)
    weight = made.reading.reader.projection.weight.detach()
    table = student.get_input_embeddings().weight.detach()[:256]  # the last three are special
    own = made.language_model.get_input_embeddings().weight.detach()[:256]
    expected = np.linalg.lstsq(table.double().numpy(), own.double().numpy(), rcond=None)[0].T
    scale = (weight.numpy() * expected).sum() / np.square(expected).sum()
    np.testing.assert_allclose(weight.numpy(), scale * expected, atol=1e-4)


def test_the_same_vocabulary_and_embeddings_are_read_unchanged(student, tiny_tokenizer):
    made = other_predictor(model_folder("tiny:0"), student, tiny_tokenizer, torch.float32)
    torch.testing.assert_close(
        made.reading.reader.projection.weight.detach(), torch.eye(64), rtol=0, atol=1e-3
    )


def test_a_predictor_without_a_common_token_is_an_error(student, tmp_path):
    foreign = byte_tokenizer()
    foreign.get_vocab = dict  # a vocabulary without any token
    with pytest.raises(KpodError, match="has no token in common with the student"):
        other_predictor(model_folder("tiny:1"), student, foreign, torch.float32)


def test_tokens_are_aligned_by_their_spelling():
    class Vocabulary:
        """What `aligned_ids` reads of a tokenizer."""

        added_tokens_decoder: ClassVar = {}
        unk_token = unk_token_id = None
        eos_token_id = 0
        all_special_tokens = ("</s>",)
        all_special_ids = (0,)

        def __init__(self, *tokens):
            self.ids = {token: i for i, token in enumerate(["</s>", *tokens])}

        def get_vocab(self):
            return self.ids

    student = Vocabulary("\u0120the", "12", "x", "\u010a")
    predictor = Vocabulary("12", "\u2581the", "\n")
    # Special tokens and unknown ones have no counterpart; the embeddings 5 and 6 have no token.
    assert aligned_ids(student, predictor, 7).tolist() == [-100, 2, 1, -100, 3, -100, -100]


def test_the_rationale_loss_is_the_students_own_on_an_unmasked_prefix(
    student, masked_examples, sequences
):
    expected = 0.0
    for example, length in zip(masked_examples, PREFIXES, strict=True):
        ids = torch.tensor([[*example.prompt_ids, *example.rationale_ids[:length]]])
        logits = student(ids).logits[0, len(example.prompt_ids) - 1 : -1]
        expected += F.cross_entropy(logits, torch.tensor(example.rationale_ids[:length]))
    predictor = student_predictor(student, torch.float32)
    answer_nll, rationale_loss = predictor.adaptation_losses(sequences, torch.ones(3, 37), None)
    torch.testing.assert_close(rationale_loss, expected)
    torch.testing.assert_close(answer_nll, predictor(sequences, torch.ones(3, 37)))


def test_masked_tokens_are_still_predicted_and_unknown_ones_are_left_out(
    student, masked_examples, sequences
):
    predictor = student_predictor(student, torch.float32)
    nothing_kept = torch.zeros(3, 37)
    before = predictor.adaptation_losses(sequences, nothing_kept, None)[1]
    changed = with_ids(sequences, 1, int(sequences.prefix_starts[1]) + 2, 7)
    assert predictor.adaptation_losses(changed, nothing_kept, None)[1] != before
    predictor.label_ids[7] = -100
    alone = predictor.adaptation_losses(changed, nothing_kept, None)[1]
    other = with_ids(sequences, 1, int(sequences.prefix_starts[1]) + 2, 8)
    predictor.label_ids[8] = -100
    assert predictor.adaptation_losses(other, nothing_kept, None)[1] == alone
    predictor.label_ids[:] = -100
    assert predictor.adaptation_losses(sequences, nothing_kept, None)[1] == 0


def test_an_empty_prefix_has_an_answer_loss(predictor, masked_examples):
    batch = collate_masked(masked_examples, [Prefix(row, 0, 1.0) for row in range(3)], PAD)
    ones, zeros = (predictor(batch.sequences, torch.full((3, 37), m)) for m in (1.0, 0.0))
    assert bool(ones.isfinite().all())
    assert torch.equal(ones, zeros)
    assert predictor.adaptation_losses(batch.sequences, torch.ones(3, 37), None)[1] == 0


def test_the_rationale_loss_of_another_model_is_in_its_own_vocabulary(student, tiny_tokenizer):
    made = other_predictor(model_folder("tiny:1"), student, tiny_tokenizer, torch.float32)
    assert made.label_ids.tolist() == [*range(256), -100, -100, -100]  # the special tokens


def test_the_student_adapts_with_its_mask_vector(student, sequences):
    predictor = student_predictor(student, torch.float32)
    predictor(sequences, random_mask()).sum().backward()
    assert all(parameter.grad.any() for parameter in predictor.parameters())


def test_an_encoder_decoder_adapts_with_its_projection_and_the_students_table_stays(
    student, t5_folder, tiny_tokenizer, sequences
):
    predictor = other_predictor(t5_folder, student, tiny_tokenizer, torch.float32)
    predictor(sequences, random_mask()).sum().backward()
    reader = predictor.reading.reader
    assert reader.projection.weight.grad.any()
    assert predictor.reading.mask_vector.grad.any()
    assert not reader.embeddings.weight.requires_grad
    assert torch.equal(reader.embeddings.weight, student.get_input_embeddings().weight)


def test_bf16_arithmetic_gives_nearly_the_same_answer_loss(predictor, sequences):
    expected = predictor(sequences, random_mask())
    predictor.compute_dtype = torch.bfloat16
    ours = predictor(sequences, random_mask())
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, expected)
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("pad", [0, 77, PAD])
def test_company_and_padding_do_not_change_the_answer_loss(predictor, masked_examples, pad):
    prefixes = [Prefix(row, length, 1.0) for row, length in enumerate(PREFIXES)]
    together = predictor(collate_masked(masked_examples, prefixes, pad).sequences, random_mask())
    for row, example in enumerate(masked_examples):
        alone = collate_masked([example], [Prefix(0, PREFIXES[row], 1.0)], pad).sequences
        own_mask = random_mask()[row : row + 1, : len(example.rationale_ids)]
        torch.testing.assert_close(predictor(alone, own_mask)[0], together[row])


def test_the_kind_of_a_model_is_read_from_its_config(tiny_folder, t5_folder):
    assert is_encoder_decoder(t5_folder)
    assert not is_encoder_decoder(tiny_folder)
