"""Made-up results of a comparison for tests of its report, also with a given text in every place."""

import dataclasses
import math

import numpy as np

from kpod_ray.report.comparison.data import ArmResults, ComparisonResults, StagePoint

ARMS = {
    # name: (description, points above uniform, growth of given steps, supervised tokens in thousands)
    "untrained": ("the student before training", -22, None, 0),
    "answer_only": ("the loss covers the answer alone", -13, False, 21),
    "uniform": ("plain distillation: every token weighs 1", 0, False, 402),
    "dft": ("each token scaled by its own probability (DFT)", 1.4, False, 402),
    "hand_weights": ("numbers and operators weigh more, by hand", 0.8, False, 402),
    "easy_to_hard": ("whole rationales, questions with few steps first", -0.6, False, 402),
    "kpod": ("token weights and progressive stages", 4.6, True, 399),
    "kpod_without_weights": ("stages alone (w.o.-sig)", 2.1, True, 399),
    "kpod_uniform_difficulty": ("stages planned with equal weights (w.o.-sig-dif)", 1.6, True, 400),
    "kpod_without_progress": ("token weights alone (w.o.-prog)", 1.1, False, 402),
    "kpod_without_diversity": ("beta = 0 (w.o.-div)", 4.2, True, 399),
    "kpod_adaptive": ("stages end when the loss stalls", 5.4, True, 398),
}


def arm(name, num_steps, num_seeds):
    """Return the results of an arm: accuracy falls with the number of steps and varies with the seed.

    Args:
        name: key of `ARMS`.
        num_steps: number of steps of each test question, `[questions]`.
        num_seeds: number of trainings.
    """
    description, points, is_progressive, tokens = ARMS[name]
    generator = np.random.default_rng(sorted(ARMS).index(name))
    luck = generator.normal(0, 0.008, (num_seeds, 1))
    chance = 0.72 - 0.085 * num_steps + points / 100 + luck
    correct = generator.random((num_seeds, len(num_steps))) < np.clip(chance, 0.02, 0.98)
    if is_progressive is None:
        return ArmResults(
            name, description, {}, correct[:1], generated_minus_gold=(-1.25,), early_stops=(0.75,)
        )
    curves = tuple(curve(generator, points, is_progressive, tokens) for _ in range(num_seeds))
    seconds = tuple(float(s) for s in generator.normal(610 if tokens > 99 else 95, 12, num_seeds))
    overrides = {} if name == "uniform" else {f"arms.{name}.token_weights": "kpod", "seed": 3}
    return ArmResults(
        name=name,
        description=description,
        overrides=overrides,
        correct=correct,
        supervised_tokens=tuple(1000 * tokens + at for at in range(num_seeds)),
        train_tokens=tuple(900_000 + 11 * at for at in range(num_seeds)),
        train_steps=(1200,) * num_seeds,
        train_seconds=seconds,
        curves=curves,
        keypoint_share=() if name == "answer_only" else (0.41 + points / 100,) * num_seeds,
        generated_minus_gold=tuple(points / 10 + at for at in range(num_seeds)),
        early_stops=tuple(0.25 + at / 8 for at in range(num_seeds)),
        cost_tokens=tuple(900_000 + 11 * at + 1000 * tokens for at in range(num_seeds)),
        cost_seconds=tuple(value + tokens for value in seconds),
        learning_rate=1e-3,
        tried_rates=((1e-4, 0.3), (1e-3, 0.4)),
    )


def curve(generator, points, is_progressive, tokens, num_stages=10):
    """Return the metrics of each stage of a training, with losses that fall over the stages."""
    return tuple(
        StagePoint(
            stage=stage,
            rationale_loss=0.9 * math.exp(-stage / 4)
            + 0.32
            - points / 150
            + generator.normal(0, 0.01),
            answer_loss=0.5 * math.exp(-stage / 3) + 0.1,
            loss_tokens=tokens * 100 * stage,
            given_steps_mean=max(0.0, 2.6 - 0.4 * stage) if is_progressive else 0.0,
            accuracy=0.25 + 0.02 * stage + points / 100 if stage % 5 == 0 else None,
            share=stage / num_stages,
        )
        for stage in range(1, num_stages + 1)
    )


def plausible_comparison(num_questions=150, num_seeds=3):
    """Return a comparison of all `ARMS`; the untrained arm has one prediction per question."""
    num_steps = 1 + np.random.default_rng(0).binomial(5, 0.35, num_questions)
    return ComparisonResults(
        name="laptop-arms",
        baseline="uniform",
        budget="400,000 tokens in the loss",
        seeds=tuple(range(num_seeds)),
        arms=tuple(arm(name, num_steps, num_seeds) for name in ARMS),
        num_steps_of_question=tuple(num_steps.tolist()),
        config_yaml="name: laptop-arms\nseed: 0\nstudent:\n  learning_rate: 3.0e-05\n",
        versions={"kpod_ray": "0.2.0", "torch": "2.13.0", "ray": "2.60.0"},
        nodes="2 cores of an Intel Xeon, no GPU",
    )


def comparison_with_text(comparison, text):
    """Return a comparison with three of the arms and a given text in place of every text."""
    names = [f"{text}{name}" for name in ("untrained", "uniform", "kpod")]
    arms = [arm for arm in comparison.arms if arm.name in ("untrained", "uniform", "kpod")]
    return ComparisonResults(
        name=text,
        baseline=names[1],
        budget=text,
        seeds=comparison.seeds,
        arms=tuple(
            dataclasses.replace(arm, name=name, description=text, overrides={text: text})
            for arm, name in zip(arms, names, strict=True)
        ),
        num_steps_of_question=comparison.num_steps_of_question,
        config_yaml=text,
        versions={text: text},
        nodes=text,
    )
