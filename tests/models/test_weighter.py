"""The token weighter learns through the masked answer; the mask acts on the prefix and nowhere else."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_model

from kpod_ray.algorithm.masking import mean_token_weight
from kpod_ray.config import WeigherConfig
from kpod_ray.data.masked import build_masked_example, collate_masked
from kpod_ray.errors import KpodError
from kpod_ray.models.student import load_student
from kpod_ray.models.weighter import AnswerPredictor, KeypointLoss, TokenWeighter, build_weighter
from kpod_ray.records import Question

TEXTS = ["2 + 3 = 5.", "She has 4 eggs and eats half of them.", "One more."]
PREFIXES = [4, 20, 9]
PAD = 258


@pytest.fixture(scope="module")
def examples(tiny_tokenizer):
    return [
        build_masked_example(
            tiny_tokenizer,
            Question("q", "How many?", str(5**i), "number", (), "train", ""),
            text,
            "chat",
        )
        for i, text in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def batch(examples):
    return collate_masked(examples, PREFIXES, PAD)


@pytest.fixture
def predictor(tiny_folder):
    torch.manual_seed(0)
    language_model = load_student(tiny_folder, torch.float32).language_model
    return AnswerPredictor(language_model, torch.float32).requires_grad_(False)


@pytest.fixture
def weighter(predictor):
    return build_weighter(predictor.language_model, None)


def random_mask(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch.rationale_ids.shape, generator=generator)


def with_ids(batch, row, column, token):
    input_ids = batch.input_ids.clone()
    input_ids[row, column] = token
    return dataclasses.replace(batch, input_ids=input_ids)


def keypoint_loss(weighter, predictor, **settings):
    return KeypointLoss(weighter, predictor, WeigherConfig(**settings))


@pytest.mark.parametrize("mask", ["straight_through", "relaxed"])
def test_the_answer_loss_alone_moves_every_parameter_of_the_weighter(
    weighter, predictor, batch, mask
):
    loss = keypoint_loss(weighter, predictor, mask=mask, mask_ratio_weight=0)
    total, _, _ = loss(batch, random_mask(batch))
    total.backward()
    assert {name.split(".")[0] for name, _ in weighter.named_parameters()} == {
        "attention",
        "norm",
        "mlp",
    }
    for name, parameter in weighter.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_frozen_predictor_gets_no_gradient(weighter, predictor, batch):
    total, _, _ = keypoint_loss(weighter, predictor)(batch, random_mask(batch))
    total.backward()
    assert all(parameter.grad is None for parameter in predictor.parameters())


def test_a_step_against_the_gradient_lowers_the_loss(weighter, predictor, batch):
    loss = keypoint_loss(weighter, predictor, mask="relaxed")
    optimizer = torch.optim.AdamW(weighter.parameters(), lr=1e-3)
    totals = []
    for _ in range(5):
        total, _, _ = loss(batch, random_mask(batch))
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(total.item())
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < totals[0]


def test_the_loss_is_eq_7_of_its_parts(weighter, predictor, batch):
    loss = keypoint_loss(weighter, predictor, mask_ratio_weight=2.0)
    total, answer_nll, kept_share = loss(batch, random_mask(batch))
    torch.testing.assert_close(total, (answer_nll + 2 * kept_share).sum())
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    torch.testing.assert_close(kept_share, mean_token_weight(logits, batch.rationale_mask).detach())


def test_an_unmasked_rationale_gives_the_models_own_answer_loss(predictor, examples, batch):
    expected = []
    for example, length in zip(examples, PREFIXES, strict=True):
        context = [*example.prompt_ids, *example.rationale_ids[:length], *example.closing_ids]
        ids = torch.tensor([[*context, *example.answer_ids]])
        logits = predictor.language_model(ids).logits[0, len(context) - 1 : -1]
        labels = torch.tensor(example.answer_ids)
        expected.append(F.cross_entropy(logits, labels, reduction="sum"))
    answer_nll = predictor(batch, torch.ones_like(random_mask(batch)))
    torch.testing.assert_close(answer_nll, torch.stack(expected))


def test_the_mask_acts_on_the_prefix_alone(predictor, batch):
    keypoint_mask = random_mask(batch)
    answer_nll = predictor(batch, keypoint_mask)
    outside = torch.arange(keypoint_mask.shape[1])[None] >= batch.prefix_lengths[:, None]
    changed_outside = torch.where(outside, 1 - keypoint_mask, keypoint_mask)
    torch.testing.assert_close(predictor(batch, changed_outside), answer_nll, rtol=0, atol=0)
    for row, length in enumerate(PREFIXES):
        for position in (0, length - 1):
            changed = keypoint_mask.clone()
            changed[row, position] = 1 - changed[row, position]
            differs = predictor(batch, changed) != answer_nll
            assert differs.tolist() == [i == row for i in range(3)]


def test_the_id_of_a_masked_token_has_no_influence(predictor, batch):
    keypoint_mask = torch.ones_like(random_mask(batch))
    keypoint_mask[1, 2] = 0
    answer_nll = predictor(batch, keypoint_mask)
    first = int(batch.prefix_starts[1])
    masked = with_ids(batch, 1, first + 2, 7)
    torch.testing.assert_close(predictor(masked, keypoint_mask), answer_nll, rtol=0, atol=0)
    kept = with_ids(batch, 1, first + 3, 7)
    assert predictor(kept, keypoint_mask)[1] != answer_nll[1]


@pytest.mark.parametrize("where", ["prompt", "closing"])
def test_what_stands_around_the_prefix_is_never_masked(predictor, batch, where):
    nothing_kept = torch.zeros_like(random_mask(batch))
    first = int(batch.prefix_starts[1])
    column = first - 1 if where == "prompt" else first + PREFIXES[1]
    changed = with_ids(batch, 1, column, 7)
    assert predictor(changed, nothing_kept)[1] != predictor(batch, nothing_kept)[1]


def test_a_masked_token_is_the_mask_vector(predictor, batch):
    nothing_kept = torch.zeros_like(random_mask(batch))
    before = predictor(batch, nothing_kept)
    with torch.no_grad():
        predictor.mask_vector.add_(1)
    assert (predictor(batch, nothing_kept) != before).all()
    everything = torch.ones_like(nothing_kept)
    kept = predictor(batch, everything)
    with torch.no_grad():
        predictor.mask_vector.add_(1)
    torch.testing.assert_close(predictor(batch, everything), kept, rtol=0, atol=0)


def test_the_mask_vector_starts_as_the_mean_embedding(predictor):
    table = predictor.language_model.get_input_embeddings().weight
    torch.testing.assert_close(predictor.mask_vector, table.mean(0))


def test_the_predictor_adapts_with_its_mask_vector(predictor, batch):
    predictor.requires_grad_(True)
    predictor(batch, random_mask(batch)).sum().backward()
    assert all(parameter.grad.any() for parameter in predictor.parameters())


def test_bf16_arithmetic_gives_nearly_the_same_answer_loss(predictor, batch):
    mixed = AnswerPredictor(predictor.language_model, torch.bfloat16)
    ours, expected = (p(batch, random_mask(batch)) for p in (mixed, predictor))
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, expected)
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("pad", [0, 77, PAD])
def test_company_and_padding_change_neither_weights_nor_answer_loss(
    weighter, predictor, examples, batch, pad
):
    together = collate_masked(examples, PREFIXES, pad)
    logits = weighter(together.rationale_ids, together.rationale_mask)
    answer_nll = predictor(together, random_mask(together))
    for row, (example, length) in enumerate(zip(examples, PREFIXES, strict=True)):
        alone = collate_masked([example], [length], pad)
        num_tokens = len(example.rationale_ids)
        own_logits = weighter(alone.rationale_ids, alone.rationale_mask)[0]
        torch.testing.assert_close(logits[row, :num_tokens], own_logits)
        own_mask = random_mask(together)[row : row + 1, :num_tokens]
        torch.testing.assert_close(predictor(alone, own_mask)[0], answer_nll[row])


def test_inference_gives_the_weights_of_training(weighter, batch):
    trained = weighter(batch.rationale_ids, batch.rationale_mask)[batch.rationale_mask]
    with torch.inference_mode():
        inferred = weighter.eval()(batch.rationale_ids, batch.rationale_mask)[batch.rationale_mask]
    torch.testing.assert_close(trained.detach(), inferred)


def test_masking_starts_rare(weighter, batch):
    logits = weighter(batch.rationale_ids, batch.rationale_mask)
    weights = torch.sigmoid(logits)[batch.rationale_mask]
    assert weights.min() > 0.6  # sigmoid(1) is .731
    assert weights.max() < 0.85


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
        weighter = TokenWeighter(factor * table, 2)
        logits.append(weighter(ids, torch.ones_like(ids, dtype=torch.bool)))
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_the_embeddings_stay_those_of_the_model(weighter, predictor):
    table = predictor.language_model.get_input_embeddings().weight
    assert torch.equal(weighter.embeddings, table)
    assert weighter.embeddings.data_ptr() != table.data_ptr()
    assert "embeddings" not in dict(weighter.named_parameters())


def test_a_saved_weighter_gives_the_same_weights(weighter, predictor, batch, tmp_path):
    save_model(weighter, str(tmp_path / "weighter.safetensors"))
    torch.manual_seed(1)
    other = build_weighter(predictor.language_model, None)
    inputs = batch.rationale_ids, batch.rationale_mask
    assert not torch.equal(other(*inputs), weighter(*inputs))
    other.load(tmp_path / "weighter.safetensors")
    assert torch.equal(other(*inputs), weighter(*inputs))


@pytest.mark.parametrize(("num_heads", "expected"), [(None, 2), (4, 4)])
def test_heads_are_as_many_as_the_models_unless_given(predictor, num_heads, expected):
    weighter = build_weighter(predictor.language_model, num_heads)
    assert weighter.attention.num_heads == expected


def test_heads_that_do_not_divide_the_width_are_an_error(predictor):
    with pytest.raises(KpodError, match=r"weigher\.num_heads: 5 does not divide the width 64"):
        build_weighter(predictor.language_model, 5)
