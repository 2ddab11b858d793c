"""The rationales held back: which weighter is kept, and what the quality of its weights is."""

import numpy as np
import pytest
import torch

from kpod_ray.config import WeigherConfig
from kpod_ray.models.student import load_student
from kpod_ray.weighting.batches import MaskedExample, Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss, build_weighter
from kpod_ray.weighting.predictors import student_predictor
from kpod_ray.weighting.quality import FUNCTION_WORD, KEYPOINT, OTHER
from kpod_ray.weighting.sampler import MaskedSampler
from kpod_ray.weighting.validation import HeldBack, Position


@pytest.fixture
def held_back(tiny_folder, masked_examples):
    torch.manual_seed(0)
    student = load_student(tiny_folder, torch.float32).language_model
    predictor = student_predictor(student, torch.float32)
    loss = KeypointLoss(build_weighter(student, None), predictor, WeigherConfig())
    many = [masked_examples[i % 3] for i in range(18)]  # more than are read at a time
    return HeldBack(MaskedSampler(many, 8, "sampled", 0.5, 0, 258), loss)


def test_weights_are_those_of_the_weighter(held_back, masked_examples):
    weights = held_back.token_weights()
    assert [len(row) for row in weights[:3]] == [len(e.rationale_ids) for e in masked_examples]
    batch = collate_masked(masked_examples, [Prefix(0, 1, 1.0)], 258)
    logits = held_back.loss.weighter(batch.rationale_ids, batch.rationale_mask)
    for row, own in zip(weights, torch.sigmoid(logits.detach()), strict=False):
        np.testing.assert_allclose(row, own[: len(row)], rtol=1e-5)


def test_the_loss_is_the_same_every_time_and_the_sum_of_its_parts(held_back):
    whole = held_back.loss_sums(range(18), 0.7)
    torch.testing.assert_close(held_back.loss_sums(range(18), 0.7), whole, rtol=0, atol=0)
    parts = held_back.loss_sums(range(0, 18, 2), 0.7) + held_back.loss_sums(range(1, 18, 2), 0.7)
    torch.testing.assert_close(parts, whole)
    assert held_back.loss_sums([], 0.7).tolist() == [0, 0]


def test_quality_by_a_slow_reference(held_back):
    quality = held_back.quality()
    expected = {"highest": 0.0, "lowest": 0.0}
    for example, weights in zip(held_back.sampler.examples, held_back.token_weights(), strict=True):
        length = len(weights)
        order = sorted(range(length), key=lambda j: -weights[j])
        kept = {"highest": order[: (length + 1) // 2], "lowest": order[::-1][: (length + 1) // 2]}
        for name, positions in kept.items():
            mask = torch.zeros(1, length)
            mask[0, positions] = 1
            batch = collate_masked([example], [Prefix(0, length, 1.0)], 258)
            expected[name] += float(held_back.loss.predictor(batch.sequences, mask).detach()) / 18
    for name, loss in expected.items():
        assert quality[f"{name}_half_loss"] == pytest.approx(loss, rel=1e-4)
    assert quality == held_back.quality()
    assert 0 <= quality["auc"] <= 1


def test_auc_is_none_where_no_token_is_a_keypoint(held_back):
    words = MaskedExample("q", [1], [5, 6], [FUNCTION_WORD, OTHER], [3], [4])
    sampler = MaskedSampler([words], 8, "sampled", 0.5, 0, 258)
    assert HeldBack(sampler, held_back.loss).quality()["auc"] is None


def test_auc_is_1_where_the_weights_put_keypoints_first(held_back):
    (weights,) = HeldBack(
        MaskedSampler(
            [MaskedExample("q", [1], [5, 6], [OTHER] * 2, [3], [4])], 8, "sampled", 0, 0, 258
        ),
        held_back.loss,
    ).token_weights()
    first = KEYPOINT if weights[0] > weights[1] else FUNCTION_WORD
    kinds = [first, FUNCTION_WORD if first == KEYPOINT else KEYPOINT]
    sampler = MaskedSampler(
        [MaskedExample("q", [1], [5, 6], kinds, [3], [4])], 8, "sampled", 0, 0, 258
    )
    assert HeldBack(sampler, held_back.loss).quality()["auc"] == 1


def noted(*validations):
    """Note validations given as (loss, collapse); return the position and which ones were kept."""
    position, kept = Position(), []
    for i, (loss, collapse) in enumerate(validations):
        position.train_step = i + 1
        kept.append(position.note({"train_step": i + 1, "validation_loss": loss}, collapse))
    return position, kept


def test_the_best_sound_weighter_is_kept():
    position, kept = noted((3.0, None), (2.0, None), (2.5, None), (1.0, "masked"))
    assert kept == [True, True, False, False]
    assert position.best["train_step"] == 2
    assert position.collapse == "masked"
    assert position.num_worse == 2
    assert [row["train_step"] for row in position.history] == [1, 2, 3, 4]


def test_before_the_first_sound_weighter_any_is_kept():
    position, kept = noted((3.0, "flat"), (4.0, "flat"))
    assert kept == [True, True]
    assert position.best is None
    position, kept = noted((3.0, "flat"), (4.0, None), (3.5, "flat"))
    assert kept == [True, True, False]
    assert position.best["train_step"] == 2


@pytest.mark.parametrize(
    ("validations", "is_over"),
    [
        ([(3.0, None)], False),
        ([(3.0, "flat")], False),  # weights start nearly equal
        ([(3.0, None), (2.0, "masked")], True),
        ([(3.0, None), (3.5, None), (3.5, None)], True),  # patience
        ([(3.0, None), (3.5, None), (2.5, None)], False),
    ],
)
def test_training_ends_after_a_collapse_or_without_progress(validations, is_over):
    position, _ = noted(*validations)
    assert position.is_over(WeigherConfig(patience=2, num_train_steps=10)) is is_over


def test_training_ends_with_the_last_train_step():
    position, _ = noted((3.0, None))
    assert position.is_over(WeigherConfig(num_train_steps=1))
