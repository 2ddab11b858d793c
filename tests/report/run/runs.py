"""Made-up results of a run for tests of the run's report."""

import math
import random

from kpod_ray.evaluation.paired import paired_test
from kpod_ray.evaluation.steps import StepStatistics
from kpod_ray.records import Prediction, Question, Rationale, WeightedRationale
from kpod_ray.report.plotting import Histogram
from kpod_ray.report.run.data import (
    Accuracy,
    MissingSteps,
    PredictionPair,
    RunResults,
    TokenWeight,
    TrainPoint,
    WeightingPoint,
)

VERDICTS = {"kept": 91, "reference": 3, "surplus": 62, "wrong": 27, "no_answer": 6, "truncated": 3}
PHASE_SECONDS = {
    "teacher": 412.4,
    "weigh": 96.0,
    "apply_weighter": 8.25,
    "assess": 21.5,
    "train": 618.9,
    "evaluate": 74.1,
}
UNTOUCHED = StepStatistics(40, -1.75, 0.8, ((2, 30, 6), (3, 10, 0)))
DISTILLED = StepStatistics(48, 0.125, 0.25, ((2, 30, 18), (3, 10, 4), (5, 8, 1)))
NAMES = ("Maya", "Tom", "Priya", "Luca", "Aisha", "Ben")
TEXT = (
    "{name} starts with {a} apples.\n{name} buys {b} more, so there are {a} + {b} = {c} apples.\n"
    "Each apple costs $1.50, so they cost {c} * 1.50 = {cost:.2f} dollars in total."
)


def question(index, split="train"):
    """Return a question whose answer follows from its index."""
    a, b = 3 + index, 5 + 2 * index
    text = f"{NAMES[index % 6]} has {a} apples and buys {b} more at $1.50 each. What do all cost?"
    answer = f"{1.5 * (a + b):g}"
    return Question(f"{split}-{index}", text, answer, "number", (), split, "")


def weighted_rationale(index):
    """Return a rationale of three steps with a weighted span per word; words with digits weigh more."""
    generator = random.Random(index)
    a, b = 3 + index, 5 + 2 * index
    text = TEXT.format(name=NAMES[index % 6], a=a, b=b, c=a + b, cost=1.5 * (a + b))
    spans, weights, position = [], [], 0
    for word in text.split(" "):
        end = position + len(word)
        spans.append((max(0, position - 1), end))
        is_key = any(character in "0123456789+*=" for character in word)
        weights.append(generator.uniform(0.7, 0.9) if is_key else generator.uniform(0.06, 0.35))
        position = end + 1
    ends = [at + 1 for at, character in enumerate(text) if character == "\n"] + [len(text)]
    return WeightedRationale(
        f"train-{index}",
        text,
        tuple(start for start, _ in spans),
        tuple(end for _, end in spans),
        tuple(weights),
        (0, *ends[:-1]),
        tuple(ends),
    )


def rationale(index, verdict, text):
    """Return a rationale for question ``index`` with a verdict and a text."""
    question_id = f"train-{index}"
    return Rationale(
        f"{question_id}/0", question_id, 0, text, "teacher-7b", "stop", 31, "7", verdict
    )


def prediction(index, is_correct, text="So they cost 12 dollars in total."):
    """Return a right or wrong prediction for test question ``index``."""
    gold = question(index, "test").answer
    answer = gold if is_correct else str(index + 1)
    return Prediction(f"test-{index}", text, "stop", 24, answer, gold, is_correct)


def train_point(train_step, generator):
    """Return the metrics of a train step, with losses that fall over the train steps."""
    stage = 1 + (train_step - 1) // 12
    rationale_loss = 0.35 * math.exp(-train_step / 90) + 0.09 + generator.uniform(-0.02, 0.02)
    answer_loss = 0.3 * math.exp(-train_step / 40) + 0.03 + generator.uniform(-0.015, 0.015)
    weight = 0.42 + 0.003 * stage + generator.uniform(-0.02, 0.02)
    total = rationale_loss + answer_loss
    share = 0.41 + weight / 10
    return TrainPoint(train_step, stage, total, rationale_loss, answer_loss, weight, share)


def changed(num_better, num_worse):
    """Return the test of a model against one that answers 6 of 48 questions correctly."""
    before = [True] * 6 + [False] * 42
    after = [False] * num_worse + [True] * (6 - num_worse) + [True] * num_better
    return paired_test(before, after + [False] * (48 - len(after)))


def given_steps(stage, num_stages=20):
    """Return how many of 96 questions have 0, 1, ... 5 given steps at a stage."""
    weights = [math.exp(-((k - 5 * (1 - stage / num_stages) ** 1.5) ** 2) / 2) for k in range(6)]
    counts = [round(96 * weight / sum(weights)) for weight in weights[1:]]
    return (96 - sum(counts), *counts)


def step_difficulties(generator):
    """Return the step difficulties of 96 questions; the first four have three reasoning steps."""
    return {
        f"train-{index}": tuple(
            generator.lognormvariate(-0.4 - 0.12 * step, 0.45)
            for step in range(generator.randint(2, 6) if index > 3 else 3)
        )
        for index in range(96)
    }


def weighting_history():
    """Return the validations of two weighters, with losses that fall over the train steps."""
    return tuple(
        WeightingPoint(
            weighter, step, 1.1 * math.exp(-step / 40) + 0.4 + weighter / 9, 0.4 * step / 100
        )
        for weighter in range(2)
        for step in range(0, 101, 10)
    )


def plausible_run():
    """Return results of a run that fill every section of the report."""
    generator = random.Random(3)
    ceilings = [130 + 300 * min(1, stage / 10) ** 1.5 for stage in range(21)]
    return RunResults(
        name="laptop-arithmetic",
        accuracies=(
            Accuracy("untouched student", 6, 48, 0.059, 0.247, None, UNTOUCHED),
            Accuracy("same training, plain weights", 10, 48, 0.117, 0.343, changed(10, 6)),
            Accuracy("KPOD student", 23, 48, 0.345, 0.617, changed(19, 2), DISTILLED),
        ),
        verdict_counts=VERDICTS,
        rejects=(
            rationale(1, "wrong", "There are 4 + 7 = 12 apples, so they cost 7 dollars."),
            rationale(2, "wrong", "Priya buys 9 apples.\nThe answer is 9."),
            rationale(3, "truncated", "Luca starts with 6 apples. Then Luca, who likes"),
        ),
        questions={
            q.id: q for split in ("train", "test") for q in (question(i, split) for i in range(12))
        },
        weighted_rationales=tuple(weighted_rationale(index) for index in range(4)),
        step_difficulties=step_difficulties(generator),
        token_weight_histogram=Histogram(
            tuple(edge / 20 for edge in range(21)),
            (4, 61, 322, 511, 420, 260, 140, 66, 31, 18, 15, 22, 48, 96, 201, 377, 460, 240, 61, 7),
        ),
        top_tokens=tuple(TokenWeight(f" {k}", 0.91 - k / 100, 90 - 7 * k) for k in range(10)),
        bottom_tokens=tuple(
            TokenWeight(f" {word}", 0.04 + k / 100, 40 + 9 * k)
            for k, word in enumerate(("got", "can", "is", "the", "bought", "room"))
        ),
        given_steps_counts=tuple(given_steps(stage) for stage in range(21)),
        ceilings=tuple(ceilings),
        planned=tuple(ceiling * 0.985 for ceiling in ceilings),
        train_history=tuple(train_point(step, generator) for step in range(1, 241)),
        weighting_history=weighting_history(),
        missing_steps=(MissingSteps(0, 0.671, 4.53), MissingSteps(1, 6.052, -0.85)),
        predictions=tuple(
            PredictionPair(
                f"test-{index}",
                prediction(index, index % 5 == 0),
                prediction(index, index % 2 == 0),
            )
            for index in range(12)
        ),
        correct_pairs=tuple((index % 5 == 0, index % 2 == 0) for index in range(12)),
        warnings={"questions": "3 training questions are equal to a test question"},
        phase_seconds=PHASE_SECONDS,
        versions={"kpod_ray": "0.1.0", "torch": "2.13.0", "ray": "2.60.0", "vllm": "0.32.0"},
        config_yaml="name: laptop-arithmetic\nseed: 0\nstudent:\n  learning_rate: 3.0e-05\n",
    )
