"""How much work each unfinished phase of a run has, counted from what is there before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from kpod_ray.config import (
    ArithmeticQuestions,
    EndpointTeacher,
    FileQuestions,
    FileTeacher,
    FileWeighting,
    GeneratingTeacher,
    HandWeighting,
    LearnedWeighting,
    QuestionsConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import PromptBuilder, question_text
from kpod_ray.inference.endpoint.costs import CostEstimate
from kpod_ray.pipeline.forecast.estimates import Amount
from kpod_ray.pipeline.forecast.inputs import Inputs
from kpod_ray.records import Question
from kpod_ray.teacher.kinds import estimated_cost, prompt_builder
from kpod_ray.teacher.outstanding import outstanding

Counted = tuple[Amount | None, str]
"""A number, None if it isn't known, and what it counts."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What one unfinished phase does."""

    does: str
    """What runs: the library, the model."""
    amounts: Sequence[Counted] = ()
    """How much there is to do."""
    items: Amount | None = None
    """Number of items by which the time grows, see `EarlierRuns`; None if unknown."""
    remarks: Sequence[str] = ()
    """What else changes the amounts."""
    cost: CostEstimate | None = None
    """Cost of an endpoint's requests, 0 without prices; None for anything else."""
    has_price: bool = False
    """Whether the prices of the endpoint are set."""


def work_of(name: str, inputs: Inputs) -> Work:
    """Return the work of an artifact of a run that isn't finished; nothing is written or generated.

    ``name`` is the name of an artifact, see `name_artifacts`. The errors are those of `outstanding`.
    """
    return _WORK[name](inputs)


def _questions(inputs: Inputs) -> Work:
    train, test = inputs.of_split("train"), inputs.of_split("test")
    return Work(
        f"reads the questions: {_source(inputs.config.questions)}",
        [(_count(train), "training questions"), (_count(test), "test questions")],
    )


def _further_questions(inputs: Inputs) -> Work:
    names = ", ".join(inputs.config.evaluation.also)
    return Work(f"reads further test sets: {names}", [(_num_further(inputs), "questions")])


def _source(config: QuestionsConfig) -> str:
    if isinstance(config, ArithmeticQuestions):
        return "generated arithmetic"
    if isinstance(config, FileQuestions):
        return config.path
    return f"data set {config.dataset} on the hub"


def _teacher(inputs: Inputs) -> Work:
    teacher = inputs.config.teacher
    if isinstance(teacher, VllmTeacher | EndpointTeacher):
        return _generating(teacher, inputs)
    what = f"file {teacher.path}" if isinstance(teacher, FileTeacher) else "the questions' own"
    return Work(f"filters rationales: {what}", [(inputs.rationales, "rationales")])


def _generating(teacher: VllmTeacher | EndpointTeacher, inputs: Inputs) -> Work:
    """Return the work of a teacher that generates, without the samples that are there."""
    server = teacher.base_url if isinstance(teacher, EndpointTeacher) else "vLLM"
    does = f"{teacher.model} by {server}"
    train = inputs.of_split("train")
    if train is None:
        return Work(does, [(None, "requests")])
    left = outstanding(teacher, train, inputs.config.seed, inputs.run.store)
    cost = estimated_cost(teacher, left.shots, left.requests)
    if cost is not None:
        prompts: Amount | None = Amount(cost.num_prompt_tokens, is_rough=True)
    else:
        texts = [request.text for request in left.requests]
        builder = prompt_builder(teacher, left.shots)
        prompts = inputs.prompt_tokens(teacher.model, builder, texts)
    requests = Amount(len(left.requests))
    generated = (requests * teacher.max_new_tokens).as_bound()
    amounts = [
        (requests, "requests"),
        (prompts, "prompt tokens"),
        (generated, "generated tokens"),
    ]
    remarks = _sampling_remarks(teacher, left.num_there)
    return Work(does, amounts, requests, remarks, cost, _has_price(teacher))


def _sampling_remarks(teacher: GeneratingTeacher, num_there: int) -> list[str]:
    """Return what changes the number of requests."""
    remarks = [f"{num_there:,} samples are there already"] if num_there else []
    if rounds := teacher.samples.retry_rounds:
        word = "round" if rounds == 1 else "rounds"
        remarks.append(f"up to {rounds} more {word} for questions without a correct sample")
    return remarks


def _has_price(teacher: GeneratingTeacher) -> bool:
    return isinstance(teacher, EndpointTeacher) and any(teacher.price.model_dump().values())


def _weigh(inputs: Inputs) -> Work:
    weighting, rationales = inputs.config.weighting, inputs.rationales
    amounts: list[Counted] = [(rationales, "rationales")]
    if not isinstance(weighting, LearnedWeighting):
        does = "all weights are 1"
        if isinstance(weighting, FileWeighting):
            does = f"reads the weights: file {weighting.path}"
        if isinstance(weighting, HandWeighting):
            does = "weighs digits and operators by a rule"
        return Work(does, amounts, rationales)
    steps = weighting.num_adapt_steps + weighting.num_train_steps
    predictor = weighting.predictor or inputs.config.student.model
    num = weighting.num_seeds
    word = "weighter" if num == 1 else "weighters"
    most = Amount(num * steps, is_bound=True)
    amounts.insert(0, (most, f"train steps of {weighting.global_batch_size} rationales"))
    return Work(f"{num} token {word}, predictor {predictor}", amounts, rationales)


def _assess(inputs: Inputs) -> Work:
    rationales = inputs.rationales
    does = f"{inputs.config.student.model} reads the rationales once"
    return Work(does, [(rationales, "rationales")], rationales)


def _plan(inputs: Inputs) -> Work:
    stages, trained = inputs.config.schedule.num_stages, inputs.trained
    return Work(f"plans {stages} stages", [(trained, "rationales")], trained)


def _train(inputs: Inputs) -> Work:
    student, stages = inputs.config.student, inputs.config.schedule.num_stages
    part = f"LoRA of rank {student.lora.rank}" if student.lora else "all parameters"
    does = f"{student.model}, {part}, {student.precision}"
    if student.loss_token_budget is not None:
        return Work(does, [(Amount(student.loss_token_budget), "tokens in the loss")])
    size, tokens = student.global_batch_size, inputs.trained_tokens()
    steps = inputs.trained and inputs.trained.in_batches(size) * stages
    amounts = [
        (steps, f"train steps of {size} rationales, in {stages} stages"),
        (tokens and tokens * stages, "tokens"),
    ]
    return Work(does, amounts, steps)


def _evaluate(inputs: Inputs, which: str) -> Work:
    tests = inputs.of_split("test")
    asked = None if tests is None else tests[: inputs.config.evaluation.limit]
    return _answering(inputs, which, asked)


def _evaluate_further(inputs: Inputs, which: str) -> Work:
    limit, sets = inputs.config.evaluation.limit, inputs.further_sets
    asked = None if sets is None else [q for questions in sets for q in questions[:limit]]
    return _answering(inputs, which, asked)


def _answering(inputs: Inputs, which: str, tested: Sequence[Question] | None) -> Work:
    """Return the work of one student that answers questions."""
    evaluation, student = inputs.config.evaluation, inputs.config.student
    library = "vLLM" if evaluation.backend == "vllm" else "transformers"
    does = f"{which} student {student.model} by {library}"
    if tested is None:
        return Work(does, [(None, "questions")])
    texts = [question_text(question) for question in tested]
    tokens = inputs.prompt_tokens(student.model, PromptBuilder(student.template), texts)
    num = Amount(len(texts))
    generated = (num * evaluation.max_new_tokens).as_bound()
    amounts = [(num, "questions"), (tokens, "prompt tokens"), (generated, "generated tokens")]
    return Work(does, amounts, num)


def _num_further(inputs: Inputs) -> Amount | None:
    sets = inputs.further_sets
    return None if sets is None else Amount(sum(len(questions) for questions in sets))


def _count(questions: Sequence[Question] | None) -> Amount | None:
    return None if questions is None else Amount(len(questions))


_WORK: Mapping[str, Callable[[Inputs], Work]] = {
    "questions": _questions,
    "questions_also": _further_questions,
    "teacher": _teacher,
    "weigh": _weigh,
    "assess": _assess,
    "plan": _plan,
    "train": _train,
    "evaluate_before": lambda inputs: _evaluate(inputs, "untouched"),
    "evaluate": lambda inputs: _evaluate(inputs, "distilled"),
    "evaluate_also_before": lambda inputs: _evaluate_further(inputs, "untouched"),
    "evaluate_also": lambda inputs: _evaluate_further(inputs, "distilled"),
}
"""Name of an artifact -> function that returns its work."""
