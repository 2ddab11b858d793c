"""The token weighter: its weights, its embeddings and its heads."""

import pytest
import torch
from safetensors.torch import load_model, save_model

from kpod_ray.algorithm.keypoint_mask import shifted_to_rate
from kpod_ray.config import LearnedWeighting
from kpod_ray.errors import KpodError
from kpod_ray.weighting.model import TokenWeighter, build_weighter
from tests.weighting.masked_batches import collated


def test_company_and_padding_do_not_change_the_weights(weighter, masked_examples, batch):
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    for row, example in enumerate(masked_examples):
        alone = collated([example], [1], pad=77)
        own_logits = weighter(alone.rationale_ids, alone.rationale_mask)[0]
        torch.testing.assert_close(logits[row, : len(example.rationale_ids)], own_logits)


def test_what_was_attended_has_the_scale_of_the_embeddings(weighter, student, batch):
    attended = weighter.attended(batch.rationale_ids, batch.rationale_mask)[batch.rationale_mask]
    table = student.get_input_embeddings().weight
    ratio = attended.square().mean().sqrt() / table.square().mean().sqrt()
    assert float(ratio.detach()) == pytest.approx(1, rel=0.3)


def test_inference_gives_the_weights_of_training(weighter, batch):
    trained = weighter(batch.rationale_ids, batch.rationale_mask)[batch.rationale_mask]
    with torch.inference_mode():
        inferred = weighter.eval()(batch.rationale_ids, batch.rationale_mask)[batch.rationale_mask]
    torch.testing.assert_close(trained.detach(), inferred)


def test_with_a_penalty_masking_starts_rare(student, batch):
    weighter = build_weighter(student, LearnedWeighting(mask_ratio_weight=0.5))
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    weights = torch.sigmoid(logits)[batch.rationale_mask]
    assert weights.min() > 0.6  # sigmoid(1) is .731
    assert weights.max() < 0.85
    own = weighter.token_weights(batch.rationale_ids, batch.rationale_mask)
    torch.testing.assert_close(own[batch.rationale_mask], weights.detach())


def test_with_random_rates_a_weight_is_the_probability_to_be_kept(weighter, batch):
    mask = batch.rationale_mask
    weights = weighter.token_weights(batch.rationale_ids, mask)
    means = (weights * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(means, torch.full((3,), 0.5), rtol=0, atol=1e-5)
    logits = weighter(batch.rationale_ids, mask).detach()
    kept = torch.zeros_like(weights)
    rates = torch.linspace(0.15, 0.85, 101)
    for rate in rates:
        kept += torch.sigmoid(shifted_to_rate(logits, mask, rate.expand(3))) / len(rates)
    torch.testing.assert_close(weights[mask], kept[mask], rtol=0, atol=2e-3)


def test_the_weight_of_a_token_depends_on_the_others(weighter, batch):
    changed = batch.rationale_ids.clone()
    changed[1, 0] = 7
    before, after = (weighter(ids, batch.rationale_mask) for ids in (batch.rationale_ids, changed))
    assert before[1, 5] != after[1, 5]
    assert before[0, 5] == after[0, 5]


@pytest.mark.parametrize("scale", [0.1, 50])
def test_the_scale_of_the_embeddings_does_not_matter(scale):
    table = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(10)[None]
    logits = []
    for factor in (1, scale):
        torch.manual_seed(0)
        weighter = TokenWeighter(factor * table, 2, has_random_rates=False)
        logits.append(weighter(ids, torch.ones_like(ids, dtype=torch.bool)))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_the_embeddings_stay_those_of_the_model(weighter, student):
    table = student.get_input_embeddings().weight
    assert torch.equal(weighter.embeddings, table)
    assert weighter.embeddings.data_ptr() != table.data_ptr()
    assert "embeddings" not in dict(weighter.named_parameters())


def test_a_saved_weighter_gives_the_same_weights(weighter, student, batch, tmp_path):
    save_model(weighter, str(tmp_path / "weighter.safetensors"))
    torch.manual_seed(1)
    other = build_weighter(student, LearnedWeighting())
    inputs = batch.rationale_ids, batch.rationale_mask
    assert not torch.equal(other(*inputs), weighter(*inputs))
    load_model(other, str(tmp_path / "weighter.safetensors"))
    assert torch.equal(other(*inputs), weighter(*inputs))


@pytest.mark.parametrize(("num_heads", "expected"), [(None, 2), (4, 4)])
def test_heads_are_as_many_as_the_models_unless_given(student, num_heads, expected):
    weighter = build_weighter(student, LearnedWeighting(num_heads=num_heads))
    assert weighter.attention.num_heads == expected


def test_heads_that_do_not_divide_the_width_are_an_error(student):
    with pytest.raises(KpodError, match=r"weighting\.num_heads: 5 does not divide the width 64"):
        build_weighter(student, LearnedWeighting(num_heads=5))
