"""A plausible run, a plausible comparison and hostile ones, and a reader of their pages."""

import dataclasses
import json
import math
import random
from html.parser import HTMLParser

import numpy as np
import pytest

from kpod_ray.records import Prediction, Question, Rationale, WeightedRationale
from kpod_ray.report.comparison_results import ArmResults, ComparisonResults, StagePoint
from kpod_ray.report.results import (
    Accuracy,
    Histogram,
    PredictionPair,
    RunResults,
    TokenWeight,
    TrainPoint,
    WeigherPoint,
)
from tests.report.sweeps import plausible_sweep, with_text


class Page(HTMLParser):
    """Tags, attributes and text of a page, with the text of each section and the table cells."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.sections, self.rows, self.scripts = {}, [], []
        self.section = "header"
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
            return
        self.sections[self.section] = self.sections.get(self.section, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def cells(self, label):
        """Return the cells of the row whose first cell begins with the label."""
        rows = [row for row in self.rows if row and row[0].strip().startswith(label)]
        return [cell.strip().replace("\u00a0", " ") for cell in rows[0]]

    def figures(self):
        values = [json.loads(value) for _, name, value in self.attributes if name == "data-figure"]
        return [value["data"] for value in values]


@pytest.fixture(scope="session")
def parse_page():
    """What reads the source of a page."""
    return Page


VERDICTS = {"kept": 91, "reference": 3, "surplus": 62, "wrong": 27, "no_answer": 6, "truncated": 3}
NAMES = ("Maya", "Tom", "Priya", "Luca", "Aisha", "Ben")
TEXT = (
    "{name} starts with {a} apples.\n{name} buys {b} more, so there are {a} + {b} = {c} apples.\n"
    "Each apple costs $1.50, so they cost {c} * 1.50 = {cost:.2f} dollars in total."
)


def question(index, split="train"):
    a, b = 3 + index, 5 + 2 * index
    text = f"{NAMES[index % 6]} has {a} apples and buys {b} more at $1.50 each. What do all cost?"
    answer = f"{1.5 * (a + b):g}"
    return Question(f"{split}-{index}", text, answer, "number", (), split, "")


def weighted_rationale(index):
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
    question_id = f"train-{index}"
    return Rationale(
        f"{question_id}/0", question_id, 0, text, "teacher-7b", "stop", 31, "7", verdict
    )


def prediction(index, is_correct, text="So they cost 12 dollars in total."):
    gold = question(index, "test").answer
    answer = gold if is_correct else str(index + 1)
    return Prediction(f"test-{index}", text, "stop", 24, answer, gold, is_correct)


def train_point(train_step, generator):
    stage = 1 + (train_step - 1) // 12
    rationale_loss = 0.35 * math.exp(-train_step / 90) + 0.09 + generator.uniform(-0.02, 0.02)
    answer_loss = 0.3 * math.exp(-train_step / 40) + 0.03 + generator.uniform(-0.015, 0.015)
    weight = 0.42 + 0.003 * stage + generator.uniform(-0.02, 0.02)
    total = rationale_loss + answer_loss
    return TrainPoint(train_step, stage, total, rationale_loss, answer_loss, weight)


def given_steps(stage, num_stages=20):
    weights = [math.exp(-((k - 5 * (1 - stage / num_stages) ** 1.5) ** 2) / 2) for k in range(6)]
    counts = [round(96 * weight / sum(weights)) for weight in weights[1:]]
    return (96 - sum(counts), *counts)


@pytest.fixture
def results():
    """A run with something in every section."""
    generator = random.Random(3)
    ceilings = [130 + 300 * min(1, stage / 10) ** 1.5 for stage in range(21)]
    return RunResults(
        name="laptop-arithmetic",
        accuracies=(
            Accuracy("untouched student", 6, 48, 0.059, 0.247),
            Accuracy("same training, plain weights", 17, 48, 0.234, 0.496),
            Accuracy("KPOD student", 23, 48, 0.345, 0.617),
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
        step_difficulties={
            f"train-{index}": tuple(
                generator.lognormvariate(-0.4 - 0.12 * step, 0.45)
                for step in range(generator.randint(2, 6) if index > 3 else 3)
            )
            for index in range(96)
        },
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
        weigher_history=tuple(
            WeigherPoint(step, 1.1 * math.exp(-step / 40) + 0.4, 0.9 - 0.4 * step / 100)
            for step in range(0, 101, 10)
        ),
        predictions=tuple(
            PredictionPair(
                f"test-{index}",
                prediction(index, index % 5 == 0),
                prediction(index, index % 2 == 0),
            )
            for index in range(12)
        ),
        phase_seconds={
            "teacher": 412.4,
            "weigh": 96.0,
            "annotate": 8.25,
            "assess": 21.5,
            "train": 618.9,
            "evaluate": 74.1,
        },
        versions={"kpod_ray": "0.1.0", "torch": "2.13.0", "ray": "2.60.0", "vllm": "0.32.0"},
        config_yaml="name: laptop-arithmetic\nseed: 0\nstudent:\n  learning_rate: 3.0e-05\n",
    )


ARMS = {
    # name: (description, points above uniform, growth of given steps, supervised tokens in thousands)
    "untrained": ("the student as it came", -22, None, 0),
    "answer_only": ("the loss covers the answer alone", -13, False, 21),
    "uniform": ("plain distillation: every token weighs 1", 0, False, 402),
    "probability": ("each token scaled by its own probability (DFT)", 1.4, False, 402),
    "symbols": ("numbers and operators weigh more, by hand", 0.8, False, 402),
    "easy_to_hard": ("whole rationales, questions with few steps first", -0.6, False, 402),
    "kpod": ("token weights and progressive stages", 4.6, True, 399),
    "kpod_without_weights": ("stages alone (w.o.-sig)", 2.1, True, 399),
    "kpod_uniform_difficulty": ("stages planned with equal weights (w.o.-sig-dif)", 1.6, True, 400),
    "kpod_without_progress": ("token weights alone (w.o.-prog)", 1.1, False, 402),
    "kpod_without_diversity": ("beta = 0 (w.o.-div)", 4.2, True, 399),
    "kpod_adaptive": ("stages end when the loss stalls", 5.4, True, 398),
}


def arm(name, num_steps, num_seeds=5):
    """An arm that finds long questions harder, with luck of seeds and curves that fall."""
    description, points, is_progressive, tokens = ARMS[name]
    generator = np.random.default_rng(sorted(ARMS).index(name))
    luck = generator.normal(0, 0.008, (num_seeds, 1))
    chance = 0.72 - 0.085 * num_steps + points / 100 + luck
    correct = generator.random((num_seeds, len(num_steps))) < np.clip(chance, 0.02, 0.98)
    if is_progressive is None:
        return ArmResults(name, description, {}, correct[:1])
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
    )


def curve(generator, points, is_progressive, tokens, num_stages=10):
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
        )
        for stage in range(1, num_stages + 1)
    )


def compared(names, num_questions=400, num_seeds=5):
    num_steps = 1 + np.random.default_rng(0).binomial(5, 0.35, num_questions)
    return ComparisonResults(
        name="laptop-arms",
        baseline="uniform",
        budget="400,000 tokens in the loss",
        seeds=tuple(range(num_seeds)),
        arms=tuple(arm(name, num_steps, num_seeds) for name in names),
        num_steps_of_question=tuple(num_steps.tolist()),
        config_yaml="name: laptop-arms\nseed: 0\nstudent:\n  learning_rate: 3.0e-05\n",
        versions={"kpod_ray": "0.2.0", "torch": "2.13.0", "ray": "2.60.0"},
        machine="2 cores of an Intel Xeon, no GPU",
    )


@pytest.fixture(scope="session")
def comparison():
    """Twelve arms with three seeds each, of which the first is deterministic."""
    return compared(ARMS, num_questions=150, num_seeds=3)


@pytest.fixture(scope="session")
def hostile_comparison(comparison):
    """Three of its arms, with text that attacks the page in every place that holds text."""
    names = [f"{HOSTILE}{name}" for name in ("untrained", "uniform", "kpod")]
    arms = [arm for arm in comparison.arms if arm.name in ("untrained", "uniform", "kpod")]
    return ComparisonResults(
        name=HOSTILE,
        baseline=names[1],
        budget=HOSTILE,
        seeds=comparison.seeds,
        arms=tuple(
            dataclasses.replace(arm, name=name, description=HOSTILE, overrides={HOSTILE: HOSTILE})
            for arm, name in zip(arms, names, strict=True)
        ),
        num_steps_of_question=comparison.num_steps_of_question,
        config_yaml=HOSTILE,
        versions={HOSTILE: HOSTILE},
        machine=HOSTILE,
    )


PAYLOAD = "document.documentElement.dataset.hacked=1"


@pytest.fixture(scope="session")
def swept():
    """A plausible sweep."""
    return plausible_sweep()


@pytest.fixture(scope="session")
def hostile_sweep(swept):
    """The same sweep with hostile texts in it."""
    return with_text(swept, HOSTILE)


HOSTILE = (
    f"</script><script>{PAYLOAD}</script><img src=x onerror={PAYLOAD}>"
    f"\"'><svg onload='{PAYLOAD}'><a href=\"javascript:{PAYLOAD}\">a</a>--><!--<script>]]>"
    "\x00\x1b[31m \u202eevil\u2066 \ud800 {{ 7 * 7 }} &lt;b&gt; \u05e9\u05dc\u05d5\u05dd "
    "</style></pre></textarea>"
)


@pytest.fixture
def hostile_results(results):
    """The same run with text that attacks the page in every place that holds text."""
    questions = {HOSTILE: poisoned(results.questions["test-0"])}
    return dataclasses.replace(poisoned(results), questions=questions)


def poisoned(value):
    """Return plain data with the hostile text in place of every string."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple):
        return tuple(poisoned(element) for element in value)
    if isinstance(value, dict):
        return {f"{HOSTILE}{key}": poisoned(element) for key, element in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {f.name: poisoned(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return type(value)(**fields)
    return value
