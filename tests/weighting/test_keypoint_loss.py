"""The token weighter learns through the masked answer, and its predictor from random masks."""

import itertools

import pytest
import torch

from kpod_ray.algorithm.keypoint_mask import (
    bounded_logits,
    gumbel_noise,
    mean_token_weight,
    shifted_to_rate,
)
from kpod_ray.config import LearnedWeighting
from kpod_ray.weighting.batches import MaskedExample, collate_masked
from kpod_ray.weighting.model import (
    CHUNK,
    RANDOM_LOGIT_SCALE,
    AdaptationLoss,
    TokenWeighter,
    build_weighter,
    mean_answer_nll,
)
from kpod_ray.weighting.other_predictor import other_predictor
from kpod_ray.weighting.predictors import student_predictor
from kpod_ray.weighting.sampler import MaskedSampler, all_prefixes
from tests.weighting.masked_batches import (
    PAD,
    TEMPERATURE,
    collated,
    keypoint_loss,
    random_mask,
    random_noise,
)


@pytest.mark.parametrize("mask_ratio_weight", [0, None])
@pytest.mark.parametrize("mask", ["straight_through", "relaxed"])
def test_the_answer_loss_alone_moves_every_parameter_of_the_weighter(
    student, predictor, batch, mask, mask_ratio_weight
):
    weighter = build_weighter(student, LearnedWeighting(mask_ratio_weight=mask_ratio_weight))
    loss = keypoint_loss(weighter, predictor, mask=mask, mask_ratio_weight=mask_ratio_weight)
    total, _, _ = loss(batch, random_noise(batch), TEMPERATURE)
    total.backward()
    assert {name.split(".")[0] for name, _ in weighter.named_parameters()} == {
        "attention",
        "norm",
        "mlp",
    }
    for name, parameter in weighter.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # With random rates, the centred logits forget the bias of the last layer.
        assert parameter.grad.any() or (mask_ratio_weight is None and name == "mlp.2.bias"), name


def test_the_frozen_predictor_gets_no_gradient(weighter, predictor, batch):
    total, _, _ = keypoint_loss(weighter, predictor)(batch, random_noise(batch), TEMPERATURE)
    total.backward()
    assert all(parameter.grad is None for parameter in predictor.parameters())


def test_a_step_against_the_gradient_lowers_the_loss(weighter, predictor, batch):
    loss = keypoint_loss(weighter, predictor, mask="relaxed")
    optimizer = torch.optim.AdamW(weighter.parameters(), lr=1e-3)
    totals = []
    for _ in range(5):
        total, _, _ = loss(batch, random_noise(batch), TEMPERATURE)
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(total.item())
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < totals[0]


def test_the_loss_is_eq_7_of_its_parts(weighter, predictor, batch):
    loss = keypoint_loss(weighter, predictor, mask_ratio_weight=2.0)
    total, answer_nll, kept_fraction = loss(batch, random_noise(batch), TEMPERATURE)
    torch.testing.assert_close(total, (answer_nll + 2 * kept_fraction).sum())
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    torch.testing.assert_close(
        kept_fraction, mean_token_weight(logits, batch.rationale_mask).detach()
    )


@pytest.mark.parametrize("whole_fraction", [0.0, 0.5])
def test_the_loss_of_all_prefixes_is_what_one_sampled_prefix_gives_on_average(
    weighter, predictor, masked_examples, whole_fraction
):
    examples = [masked_examples[0], masked_examples[2]]
    loss, lengths = keypoint_loss(weighter, predictor), [len(e.rationale_ids) for e in examples]
    prefixes = [all_prefixes(row, n, whole_fraction) for row, n in enumerate(lengths)]
    everything = collate_masked(examples, [*prefixes[0], *prefixes[1]], PAD)
    uniform = random_noise(everything)
    _, answer_nll, _ = loss(everything, uniform, TEMPERATURE)
    expected = torch.zeros(2)
    for first, second in itertools.product(*prefixes):
        one = collated(examples, [first.length, second.length])
        _, nll, _ = loss(one, uniform, TEMPERATURE)
        expected += first.share * second.share * nll
    torch.testing.assert_close(answer_nll, expected)


def test_a_batch_of_many_sequences_is_read_in_parts_with_the_same_gradients(
    weighter, predictor, masked_examples
):
    lengths = [len(example.rationale_ids) for example in masked_examples]
    prefixes = [p for row, n in enumerate(lengths) for p in all_prefixes(row, n, 0.5)]
    assert len(prefixes) > CHUNK
    batch = collate_masked(masked_examples, prefixes, PAD)
    mask = random_mask(batch).requires_grad_()
    in_parts = mean_answer_nll(predictor, batch, mask, None)
    (gradient,) = torch.autograd.grad(in_parts.sum(), mask)
    rows = batch.sequences.rationale_rows
    nll = predictor(batch.sequences, mask[rows]) * batch.sequences.shares
    whole = torch.zeros(3).index_add(0, rows, nll)
    (expected,) = torch.autograd.grad(whole.sum(), mask)
    torch.testing.assert_close(in_parts, whole)
    torch.testing.assert_close(gradient, expected)


def test_before_attention_the_predictor_reads_the_embeddings(weighter, predictor, batch):
    assert keypoint_loss(weighter, predictor).attended(batch) is None


def test_after_attention_the_predictor_reads_what_was_attended(weighter, predictor, batch):
    before = keypoint_loss(weighter, predictor)
    after = keypoint_loss(weighter, predictor, mask_position="after_attention")
    attended = after.attended(batch)
    torch.testing.assert_close(
        attended, weighter.attended(batch.rationale_ids, batch.rationale_mask)
    )
    inputs = batch, random_noise(batch), TEMPERATURE
    assert (after(*inputs)[1] != before(*inputs)[1]).all()
    assert torch.equal(after(*inputs)[2], before(*inputs)[2])


def test_a_kept_neighbour_carries_a_masked_token_only_after_attention(
    weighter, predictor, batch, masked_examples
):
    changed = batch.rationale_ids.clone()
    changed[1, 2] = 7
    mask = torch.ones(batch.rationale_ids.shape)
    mask[1, 2] = 0
    nll = [
        predictor(batch.sequences, mask, weighter.attended(ids, batch.rationale_mask))[1]
        for ids in (batch.rationale_ids, changed)
    ]
    assert nll[0] != nll[1]


@pytest.mark.parametrize("mask_position", ["before_attention", "after_attention"])
def test_an_encoder_decoder_moves_every_parameter_of_the_weighter(
    student, t5_folder, tiny_tokenizer, batch, mask_position
):
    predictor = other_predictor(t5_folder, student, tiny_tokenizer, torch.float32).requires_grad_(
        False
    )
    weighter = build_weighter(student, LearnedWeighting(mask_ratio_weight=0))
    loss = keypoint_loss(weighter, predictor, mask_ratio_weight=0, mask_position=mask_position)
    loss(batch, random_noise(batch), TEMPERATURE)[0].backward()
    for name, parameter in weighter.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("mask", ["straight_through", "relaxed"])
def test_with_random_rates_the_loss_is_the_answers_under_masks_of_these_rates(
    weighter, predictor, batch, mask
):
    loss = keypoint_loss(weighter, predictor, mask=mask)
    noise = random_noise(batch)
    total, answer_nll, kept_fraction = loss(batch, noise, TEMPERATURE)
    torch.testing.assert_close(total.detach(), answer_nll.sum())
    torch.testing.assert_close(kept_fraction, noise.keep_rates, rtol=0, atol=1e-5)
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    logits = shifted_to_rate(logits, batch.rationale_mask, noise.keep_rates)
    relaxed = torch.sigmoid((logits + gumbel_noise(noise.uniform)) / TEMPERATURE)
    own = (relaxed > 0.5).float() if mask == "straight_through" else relaxed
    expected = mean_answer_nll(predictor, batch, own, None)
    torch.testing.assert_close(answer_nll, expected.detach())


def test_the_weighter_finds_the_one_token_that_decides():
    """A predictor that is the answer's loss of one token by hand: 3 nats if the token is masked."""

    class Oracle(torch.nn.Module):
        def forward(self, sequences, keypoint_mask, attended=None):
            is_informative = rationale_ids[sequences.rationale_rows] == 7
            kept = (keypoint_mask * is_informative).sum(1)
            return 3 * (1 - kept)

    generator = torch.Generator().manual_seed(0)
    rationale_ids = torch.randint(8, 30, (8, 12), generator=generator)
    places = torch.randint(0, 12, (8,), generator=generator)
    rationale_ids[torch.arange(8), places] = 7
    examples = [
        MaskedExample(f"q{i}", [1], ids.tolist(), [-1] * 12, [5], [6], [12])
        for i, ids in enumerate(rationale_ids)
    ]
    torch.manual_seed(0)
    table = torch.randn(30, 16, generator=generator)
    weighter = TokenWeighter(table, 2, has_random_rates=True)
    loss = keypoint_loss(weighter, Oracle())
    sampler = MaskedSampler(examples, 8, "sampled", 0.5, 0, 0)
    optimizer = torch.optim.AdamW(weighter.parameters(), lr=1e-2)
    for train_step in range(60):
        batch, noise = sampler.batch(range(8), train_step)
        loss(batch, noise, TEMPERATURE)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    weights = weighter.token_weights(rationale_ids, torch.ones(8, 12, dtype=torch.bool))
    assert weights.argmax(1).tolist() == places.tolist()
    others = weights.masked_fill(rationale_ids == 7, 0).max()
    assert float(weights.max(1).values.min() - others) > 0.2


def test_the_adaptation_trains_the_predictor_on_masks_of_random_logits(student, batch):
    predictor = student_predictor(student, torch.float32)
    noise = random_noise(batch)
    loss = AdaptationLoss(predictor, LearnedWeighting(mask="straight_through"))
    total, answer_nll = loss(batch, noise, TEMPERATURE, None)
    total.backward()
    assert all(parameter.grad.any() for parameter in predictor.parameters())
    logits = bounded_logits(RANDOM_LOGIT_SCALE * noise.normal, batch.rationale_mask)
    logits = shifted_to_rate(logits, batch.rationale_mask, noise.keep_rates)
    mask = (logits + gumbel_noise(noise.uniform) > 0).float()
    expected, rationale_loss = predictor.adaptation_losses(batch.sequences, mask, None)
    torch.testing.assert_close(answer_nll, expected.detach())
    torch.testing.assert_close(total, expected.sum() + rationale_loss)
