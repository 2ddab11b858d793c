"""The work of a phase is what is counted by hand from the same questions."""

import pytest

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.answers.final_sentence import strip_closing
from kpod_ray.config import load
from kpod_ray.data.examples import build_example
from kpod_ray.data.prompts import PromptAffixes, encode_prompt, question_text, target_text
from kpod_ray.inference.records import Completion
from kpod_ray.models.student import load_tokenizer
from kpod_ray.pipeline.forecast.estimates import Amount
from kpod_ray.pipeline.forecast.inputs import MOST_ENCODED, Inputs
from kpod_ray.pipeline.forecast.work import work_of
from kpod_ray.pipeline.naming import name_run
from kpod_ray.questions.loading import load_questions
from kpod_ray.questions.splits import in_validation_set
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.teacher.fingerprints import completions_folder, generation_fingerprint
from kpod_ray.teacher.outstanding import outstanding
from kpod_ray.training.length import TrainingLength
from tests.conftest import REPOSITORY
from tests.pipeline.written_runs import written_run

SMOKE = REPOSITORY / "configs" / "smoke.yaml"
REFERENCE = "teacher={kind: reference}"


@pytest.fixture
def settings(tmp_path):
    """Return the inputs of the smoke config with some settings changed."""

    def changed(*overrides):
        return Inputs(name_run(load(SMOKE, [f"storage={tmp_path / 'store'}", *overrides])))

    return changed


def split(inputs, name):
    loaded = load_questions(inputs.config.questions, inputs.config.seed).questions
    return [question for question in loaded if question.split == name]


def counted(work):
    """Return what is counted -> amount."""
    return {what: amount for amount, what in work.amounts}


def prompts(name, questions, template="chat", **options):
    tokenizer = load_tokenizer(name)
    return sum(
        len(encode_prompt(tokenizer, question_text(q), template, **options)) for q in questions
    )


def test_a_teacher_gets_a_prompt_for_each_sample(settings):
    inputs = settings("teacher.instruction=Think.", "teacher.system_prompt=You count.")
    work = work_of("teacher", inputs)
    affixes = PromptAffixes("You count.", "Think.")
    train = split(inputs, "train")
    assert counted(work) == {
        "requests": Amount(24),
        "prompt tokens": Amount(2 * prompts("tiny:0", train, affixes=affixes)),
        "generated tokens": Amount(24 * 16, is_bound=True),
    }
    assert (work.does, work.items, work.cost) == ("tiny:0 by vLLM", Amount(24), None)


def test_worked_examples_are_counted_in_every_prompt(settings):
    inputs = settings("teacher.num_shots=2", "teacher.template=plain")
    train = split(inputs, "train")
    worked = [(question_text(q), target_text(q.reference_rationale, q.answer)[0]) for q in train]
    total = sum(
        prompts(
            "tiny:0", [q], "plain", shots=[s for s in worked[:3] if s[0] != question_text(q)][:2]
        )
        for q in train
    )
    assert counted(work_of("teacher", inputs))["prompt tokens"] == Amount(2 * total)


def test_samples_that_are_there_are_taken_off_and_rounds_are_named(settings):
    inputs = settings("teacher.samples.retry_rounds=3", "teacher.samples.per_question=1")
    teacher, store = inputs.config.teacher, inputs.run.store
    train = split(inputs, "train")
    requests = outstanding(teacher, train, 0, store).requests
    fingerprint = generation_fingerprint(teacher, "", [], inputs.config.seed)
    rows = [Completion(request.id, "t", "stop", 1) for request in requests[:5]]
    store.add_part(completions_folder(fingerprint), Completion.to_table(rows))
    work = work_of("teacher", inputs)
    assert counted(work)["requests"] == Amount(7)
    assert counted(work)["prompt tokens"] == Amount(prompts("tiny:0", train[5:]))
    assert work.remarks == [
        "5 samples are there already",
        "up to 3 more rounds for questions without a correct sample",
    ]


@pytest.mark.parametrize("price", [{}, {"output": 1000}])
def test_an_endpoint_costs_what_its_prices_say(settings, price):
    endpoint = {"kind": "endpoint", "model": "m", "base_url": "http://h/v1", "price": price}
    work = work_of("teacher", settings(f"teacher={endpoint | {'max_new_tokens': 100}}"))
    assert work.does == "m by http://h/v1"
    assert work.has_price == bool(price)
    assert work.cost.largest == pytest.approx(1.2 if price else 0)
    assert counted(work)["prompt tokens"].is_rough


def test_rationales_are_certain_only_if_each_question_brings_one(settings):
    sure = settings()  # fallback: reference
    assert counted(work_of("assess", sure)) == {"rationales": Amount(12)}
    unsure = settings("teacher.fallback=drop", "teacher.num_kept=3")
    assert counted(work_of("assess", unsure)) == {"rationales": Amount(36, is_bound=True)}
    assert counted(work_of("weigh", unsure)) == {
        "train steps of 4 rationales": Amount(2 * (2 + 4), is_bound=True),
        "rationales": Amount(36, is_bound=True),
    }
    assert work_of("weigh", unsure).does == "2 token weighters, predictor tiny:1"


@pytest.mark.parametrize(
    ("weighting", "does"),
    [
        ("null", "all weights are 1"),
        ("{kind: hand}", "weighs digits and operators by a rule"),
        ("{num_seeds: 1, predictor: tiny-t5:1}", "1 token weighter, predictor tiny-t5:1"),
    ],
)
def test_each_kind_of_weighting_says_what_it_does(settings, weighting, does):
    assert work_of("weigh", settings(f"weighting={weighting}")).does == does


def examples(inputs, questions, texts):
    """The student's training examples, as phase ``assess`` builds them."""
    tokenizer = load_tokenizer(inputs.config.student.model)
    for question, text in zip(questions, texts, strict=True):
        starts, ends = zip(*split_steps(text, split_newlines=True), strict=True)
        spans = WeightedRationale(question.id, text, [0], [len(text)], [1.0], starts, ends)
        yield build_example(tokenizer, question, spans, inputs.config.student.template)


@pytest.mark.parametrize("fraction", [0.0, 0.4])
def test_the_training_is_as_long_as_its_examples(settings, fraction):
    inputs = settings(REFERENCE, f"student.validation_fraction={fraction}")
    train = split(inputs, "train")
    is_out = in_validation_set([q.id for q in train], fraction, 0)
    trained = [q for q, out in zip(train, is_out, strict=True) if not out]
    texts = [strip_closing(q.reference_rationale).strip() for q in trained]
    tokens = sum(example.num_tokens() for example in examples(inputs, trained, texts))
    length = TrainingLength(inputs.config.student, 4, len(trained))
    steps = "train steps of 4 rationales, in 4 stages"
    work = work_of("train", inputs)
    assert counted(work)[steps].value == length.num_train_steps()
    assert counted(work)["tokens"] == Amount(4 * tokens)
    assert work.items == counted(work)[steps]
    assert bool(fraction) == (len(trained) < len(train))


def test_before_the_teacher_the_tokens_of_the_training_are_bounded_by_its_limit(settings):
    work = counted(work_of("train", settings("student.max_length=99")))
    assert work["tokens"] == Amount(4 * 12 * 99, is_bound=True)


@pytest.mark.parametrize(("overlength", "kept"), [("drop", 0), ("cut", 60)])
def test_examples_that_are_too_long_are_left_out_or_cut(settings, overlength, kept):
    limits = ("student.max_length=60", f"student.overlength={overlength}")
    inputs = settings(REFERENCE, *limits)
    assert counted(work_of("train", inputs))["tokens"] == Amount(4 * 12 * kept)


def test_after_the_teacher_its_rationales_are_counted(tmp_path):
    run = written_run(tmp_path)
    inputs = Inputs(run)
    teacher = run.artifacts["teacher"]
    questions = Question.from_table(teacher.read("questions"))
    texts = {r.question_id: r.text for r in Rationale.from_table(teacher.read("rationales"))}
    built = examples(inputs, questions, [texts[q.id] for q in questions])
    tokens = sum(example.num_tokens() for example in built)
    work = counted(work_of("train", inputs))
    assert work["train steps of 8 rationales, in 20 stages"] == Amount(20, is_bound=True)
    assert work["tokens"] == Amount(20 * tokens)
    assert counted(work_of("assess", inputs)) == {"rationales": Amount(6)}


def test_an_adapter_and_a_budget_of_tokens_are_named(settings):
    inputs = settings("student.lora={rank: 4}", "student.loss_token_budget=500")
    work = work_of("train", inputs)
    assert work.does == "tiny:1, LoRA of rank 4, fp32"
    assert (work.amounts, work.items) == ([(Amount(500), "tokens in the loss")], None)


def test_both_students_answer_the_first_test_questions(settings):
    inputs = settings("evaluation.limit=3", "student.template=plain")
    asked = split(inputs, "test")[:3]
    for name, which in (("evaluate_before", "untouched"), ("evaluate", "distilled")):
        work = work_of(name, inputs)
        assert work.does == f"{which} student tiny:1 by vLLM"
        assert counted(work) == {
            "questions": Amount(3),
            "prompt tokens": Amount(prompts("tiny:1", asked, "plain")),
            "generated tokens": Amount(3 * 16, is_bound=True),
        }


def test_further_sets_are_answered_without_repeats(settings):
    also = "{a: {source: arithmetic, num_train: 1, num_test: 5, train_seed: 9, test_seed: 9}}"
    inputs = settings(f"evaluation.also={also}", "evaluation.limit=3")
    assert counted(work_of("evaluate_also", inputs))["questions"] == Amount(3)
    assert counted(work_of("questions_also", inputs))["questions"].value <= 5


def test_of_many_prompts_some_are_tokenised_and_the_sum_is_scaled(settings):
    inputs = settings("questions={source: arithmetic, num_train: 2500, num_test: 1}")
    total = counted(work_of("teacher", inputs))["prompt tokens"]
    train = split(inputs, "train")
    exact = 2 * prompts("tiny:0", train)
    assert 2 * len(train) > MOST_ENCODED
    assert total.is_rough
    assert total.value == pytest.approx(exact, rel=0.02)


def test_a_data_set_that_is_not_to_be_had_leaves_the_amounts_open(settings):
    inputs = settings("questions={source: hub, dataset: nobody/nothing}")
    for name in ("questions", "teacher", "weigh", "assess", "train", "evaluate"):
        assert None in counted(work_of(name, inputs)).values()
    (problem,) = inputs.problems
    assert "data set 'nobody/nothing' can't be loaded" in problem
    assert "\n" not in problem


def test_without_its_tokenizer_the_tokens_of_a_model_are_not_known(settings):
    inputs = settings("teacher.model=nobody/nothing", "student.model=nobody/little")
    assert counted(work_of("teacher", inputs))["prompt tokens"] is None
    assert counted(work_of("evaluate", inputs))["prompt tokens"] is None
    assert counted(work_of("train", inputs))["tokens"].is_bound


def test_nothing_is_written(settings, tmp_path):
    inputs = settings()
    for name in inputs.run.artifacts:
        work_of(name, inputs)
    assert not (tmp_path / "store").exists()
