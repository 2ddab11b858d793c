"""The rationales held back: which weighter is kept, and what the quality of its weights is."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from kpod_ray.config import LearnedWeighting
from kpod_ray.data.token_kinds import FUNCTION_WORD, KEYPOINT, OTHER
from kpod_ray.models.student import load_student
from kpod_ray.weighting.batches import MaskedExample, Prefix, collate_masked
from kpod_ray.weighting.model import KeypointLoss, build_weighter
from kpod_ray.weighting.predictors import student_predictor
from kpod_ray.weighting.progress import WeightingProgress
from kpod_ray.weighting.sampler import MaskedSampler
from kpod_ray.weighting.validation import WeightingValidation


@pytest.fixture
def validation(tiny_folder, masked_examples):
    torch.manual_seed(0)
    student = load_student(tiny_folder, torch.float32).language_model
    predictor = student_predictor(student, torch.float32)
    loss = KeypointLoss(build_weighter(student, LearnedWeighting()), predictor, LearnedWeighting())
    many = [masked_examples[i % 3] for i in range(18)]  # more than are read at a time
    return WeightingValidation(MaskedSampler(many, 8, "sampled", 0.5, 0, 258), loss)


def test_weights_are_those_of_the_weighter(validation, masked_examples):
    weights = validation.token_weights()
    assert [len(row) for row in weights[:3]] == [len(e.rationale_ids) for e in masked_examples]
    batch = collate_masked(masked_examples, [Prefix(0, 1, 1.0)], 258)
    expected = validation.loss.weighter.token_weights(batch.rationale_ids, batch.rationale_mask)
    for row, own in zip(weights, expected, strict=False):
        np.testing.assert_allclose(row, own[: len(row)], rtol=1e-5)


def test_the_loss_is_the_same_every_time_and_the_sum_of_its_parts(validation):
    whole = validation.loss_sums(range(18), 0.7)
    torch.testing.assert_close(validation.loss_sums(range(18), 0.7), whole, rtol=0, atol=0)
    parts = validation.loss_sums(range(0, 18, 2), 0.7) + validation.loss_sums(range(1, 18, 2), 0.7)
    torch.testing.assert_close(parts, whole)
    assert validation.loss_sums([], 0.7).tolist() == [0, 0]


def test_quality_by_a_slow_reference(validation):
    quality = validation.quality(validation.token_weights())
    expected = {"highest": 0.0, "lowest": 0.0}
    for example, weights in zip(
        validation.sampler.examples, validation.token_weights(), strict=True
    ):
        length = len(weights)
        order = sorted(range(length), key=lambda j: -weights[j])
        kept = {"highest": order[: (length + 1) // 2], "lowest": order[::-1][: (length + 1) // 2]}
        for name, positions in kept.items():
            mask = torch.zeros(1, length)
            mask[0, positions] = 1
            batch = collate_masked([example], [Prefix(0, length, 1.0)], 258)
            expected[name] += float(validation.loss.predictor(batch.sequences, mask).detach()) / 18
    for name, loss in expected.items():
        assert quality[f"{name}_half_loss"] == pytest.approx(loss, rel=1e-4)
    assert quality == validation.quality(validation.token_weights())
    assert 0 <= quality["auc"] <= 1
    best = sum(
        float(validation.best_half_sum(part, validation.token_weights()))
        for part in (range(0, 18, 2), range(1, 18, 2))
    )
    assert best / 18 == pytest.approx(quality["highest_half_loss"], rel=1e-5)
    assert float(validation.best_half_sum([], validation.token_weights())) == 0


def test_losses_by_missing_steps_by_a_slow_reference(validation, masked_examples):
    # The second example has a single step, the third is cut by hand into three.
    examples = [
        dataclasses.replace(masked_examples[0], step_ends=[4, 10]),
        dataclasses.replace(masked_examples[1], step_ends=[37]),
        dataclasses.replace(masked_examples[2], step_ends=[2, 5, 9]),
    ]
    own = WeightingValidation(
        dataclasses.replace(validation.sampler, examples=examples), validation.loss
    )

    def loss_of(example, length):
        batch = collate_masked([example], [Prefix(0, length, 1.0)], 258)
        with torch.no_grad():
            return float(validation.loss.predictor(batch.sequences, torch.ones(1, 37)))

    losses = own.missing_step_losses(range(4))
    cuts = {
        0: [(0, 10), (1, 37), (2, 9)],
        1: [(0, 4), (2, 5)],
        2: [(2, 2)],
    }
    for missing, rows in cuts.items():
        after = [loss_of(examples[row], length) for row, length in rows]
        nothing = [loss_of(examples[row], 0) for row, _ in rows]
        assert losses[f"missing_{missing}_loss"] == pytest.approx(np.mean(after), rel=1e-4)
        gain = np.mean(nothing) - np.mean(after)
        assert losses[f"missing_{missing}_gain"] == pytest.approx(gain, abs=1e-3)
    assert losses["missing_3_loss"] is None
    assert losses["missing_3_gain"] is None


def test_auc_is_none_where_no_token_is_a_keypoint(validation):
    words = MaskedExample("q", [1], [5, 6], [FUNCTION_WORD, OTHER], [3], [4], [2])
    sampler = MaskedSampler([words], 8, "sampled", 0.5, 0, 258)
    own = WeightingValidation(sampler, validation.loss)
    assert own.quality(own.token_weights())["auc"] is None


def test_auc_is_1_where_the_weights_put_keypoints_first(validation):
    (weights,) = WeightingValidation(
        MaskedSampler(
            [MaskedExample("q", [1], [5, 6], [OTHER] * 2, [3], [4], [2])], 8, "sampled", 0, 0, 258
        ),
        validation.loss,
    ).token_weights()
    first = KEYPOINT if weights[0] > weights[1] else FUNCTION_WORD
    kinds = [first, FUNCTION_WORD if first == KEYPOINT else KEYPOINT]
    sampler = MaskedSampler(
        [MaskedExample("q", [1], [5, 6], kinds, [3], [4], [2])], 8, "sampled", 0, 0, 258
    )
    own = WeightingValidation(sampler, validation.loss)
    assert own.quality([weights])["auc"] == 1


def noted(*validations):
    """Note validations given as (loss, collapse); return the position and which ones were kept."""
    progress, kept = WeightingProgress(), []
    for i, (loss, collapse) in enumerate(validations):
        progress.train_step = i + 1
        kept.append(progress.note({"train_step": i + 1, "validation_loss": loss}, collapse))
    return progress, kept


def test_the_best_sound_weighter_is_kept():
    progress, kept = noted((3.0, None), (2.0, None), (2.5, None), (1.0, "masked"))
    assert kept == [True, True, False, False]
    assert progress.best["train_step"] == 2
    assert progress.collapse == "masked"
    assert progress.num_worse == 2
    assert [row["train_step"] for row in progress.history] == [1, 2, 3, 4]


def test_before_the_first_sound_weighter_any_is_kept():
    progress, kept = noted((3.0, "flat"), (4.0, "flat"))
    assert kept == [True, True]
    assert progress.best is None
    progress, kept = noted((3.0, "flat"), (4.0, None), (3.5, "flat"))
    assert kept == [True, True, False]
    assert progress.best["train_step"] == 2


def test_a_loss_that_is_no_number_is_never_the_best():
    progress, kept = noted((math.nan, None), (3.0, None), (math.nan, None), (2.0, None))
    assert kept == [True, True, False, True]  # the first is kept for want of a better one
    assert progress.best["validation_loss"] == 2.0
    progress, _ = noted((math.nan, None), (math.inf, None))
    assert progress.best is None
    assert progress.num_worse == 2


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
    progress, _ = noted(*validations)
    assert progress.is_over(LearnedWeighting(patience=2, num_train_steps=10)) is is_over


def test_training_ends_with_the_last_train_step():
    progress, _ = noted((3.0, None))
    assert progress.is_over(LearnedWeighting(num_train_steps=1))
