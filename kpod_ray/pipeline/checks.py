"""Check before a run what can be checked without Ray: settings, models, files and their rows.

Nothing is written, and importing this module loads neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kpod_ray.config import (
    FileTeacher,
    FileWeighting,
    GeneratingTeacher,
    HubQuestions,
    ReferenceTeacher,
    RunConfig,
    SplitConfig,
    StudentConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import worked_examples
from kpod_ray.errors import KpodError
from kpod_ray.inference.engine_arguments import check_engine_arguments
from kpod_ray.models.sources import is_for_vllm
from kpod_ray.pipeline.naming import (
    PHASES,
    check_models,
    check_predictor,
    check_student,
    name_run,
)
from kpod_ray.questions.further import load_further_set
from kpod_ray.questions.loading import load_questions
from kpod_ray.questions.splits import check_test_questions, in_validation_set
from kpod_ray.records import Question
from kpod_ray.schedule.embedding_source import check_embedding
from kpod_ray.teacher import kinds
from kpod_ray.teacher.rationale_files import read_samples, shortened
from kpod_ray.weighting.given_weights import check_rows


def check_run(config: RunConfig, phases: Sequence[str] = PHASES) -> None:
    """Check the models and files of a config, and the rows of its files, for the phases of a run.

    The rows of a data set on the hub aren't read. The network is used for models on the hub.

    Raises:
        KpodError: As in `check_models`, `check_engine_arguments`, `check_backend`, `name_run`,
            `load_questions` and `load_further_set`; there is no test question for phase ``evaluate``; or
            the questions, the rationales, the token weights and the validation set don't fit together.
        OSError: As in `check_models`, `check_backend` and `name_run`.
        ValueError: As in `check_models` and `check_backend`.
    """
    for check in _checks_of(config, phases):
        check()


def failed_checks(config: RunConfig, phases: Sequence[str] = PHASES) -> list[str]:
    """Return the message of every check of `check_run` that fails, each once and as one line."""
    messages = []
    for check in _checks_of(config, phases):
        try:
            check()
        except (
            KpodError,
            OSError,
            ValueError,
        ) as error:  # transformers raises all sorts for a model
            messages.append(str(error).partition("\n")[0])
    return list(dict.fromkeys(messages))


def _checks_of(config: RunConfig, phases: Sequence[str]) -> list[Callable[[], None]]:
    """Return the checks of a run, none of which needs another."""
    return [
        lambda: _check_student(config, phases),
        lambda: check_predictor(config),
        lambda: kinds.check(config.teacher),
        lambda: check_embedding(config.schedule.embedding),
        lambda: _check_engines(config, phases),
        lambda: _check_files(config, phases),
    ]


def _check_student(config: RunConfig, phases: Sequence[str]) -> None:
    check_student(config)
    if "evaluate" in phases:
        check_backend(config)


def _check_engines(config: RunConfig, phases: Sequence[str]) -> None:
    """Check the names of the arguments of vLLM's engines."""
    if isinstance(config.teacher, VllmTeacher):
        check_engine_arguments("teacher.engine_kwargs", config.teacher.engine_kwargs)
    if "evaluate" in phases:
        check_engine_arguments("evaluation.engine_kwargs", config.evaluation.engine_kwargs)


def _check_files(config: RunConfig, phases: Sequence[str]) -> None:
    """Check the local files of a config, and what its questions must be like for the phases."""
    name_run(config)
    training = [] if isinstance(config.questions, HubQuestions) else _checked(config, phases)
    for name, source in config.evaluation.also.items():
        if not isinstance(source, HubQuestions):
            load_further_set(name, source, config.seed, training)


def _checked(config: RunConfig, phases: Sequence[str]) -> list[Question]:
    """Return the training questions, which are checked for the phases; see `check_run`."""
    questions = load_questions(config.questions, config.seed).questions
    if "evaluate" in phases:
        check_test_questions(sum(question.split == "test" for question in questions))
    train = [question for question in questions if question.split == "train"]
    if "teacher" in phases:
        _check_teacher(config, train)
    if "teacher" in phases and isinstance(config.teacher, FileTeacher):
        _check_rationales(config.teacher, questions)
    if "plan" in phases:
        _check_validation(config, train)
    return train


def check_comparison(config: RunConfig) -> None:
    """Check a config and each arm of its comparison.

    Raises:
        KpodError: As in `check_run`; the comparison draws new training questions, or chooses learning
            rates, and a setting for that is missing; or the settings of an arm are wrong, or name a
            missing file or model.
        OSError: As in `check_run`.
        ValueError: As in `check_run`.
    """
    check_run(config)
    comparison = config.comparison
    is_drawn = comparison.resample != "order"
    if is_drawn and isinstance(config.questions, SplitConfig) and config.questions.limit is None:
        raise KpodError(
            f"comparison.resample={comparison.resample} draws questions.limit of the training questions "
            "with each seed; set questions.limit"
        )
    for name, arm in comparison.chosen().items():
        try:
            changed = config.override(arm.overrides)
            if comparison.learning_rates:
                _check_choice_of_rates(changed.student)
            check_models(changed)
            check_backend(changed)
            name_run(changed)
        except KpodError as error:
            raise KpodError(f"arm {name}: {str(error).removeprefix('config: ')}") from error


def _check_choice_of_rates(student: StudentConfig) -> None:
    """Check that the validation accuracy, by which learning rates are chosen, is measured."""
    if not student.validation_fraction or student.accuracy_every_stages is None:
        raise KpodError(
            "comparison.learning_rates are chosen by validation accuracy; set "
            "student.validation_fraction and student.accuracy_every_stages"
        )


def check_backend(config: RunConfig) -> None:
    """Check that vLLM, if it is the evaluation backend, can generate with the student's model.

    No parameters are loaded, but the config of a model at an address or on the hub is read over the
    network. With backend ``transformers`` nothing is checked.

    Raises:
        KpodError: The student is an encoder-decoder model, or its folder doesn't exist or has no
            ``config.json``.
        OSError: The model's config can't be read, or be had from the hub.
        ValueError: transformers doesn't know the type of the model.
    """
    if config.evaluation.backend == "vllm" and not is_for_vllm(config.student.model):
        raise KpodError(
            f"model {config.student.model}: vLLM takes no encoder-decoder model; "
            "set evaluation.backend=transformers"
        )


def _check_validation(config: RunConfig, questions: Sequence[Question]) -> None:
    """Check that the validation set isn't empty where a setting needs it, and isn't everything."""
    student = config.student
    ids = [question.id for question in questions]
    is_held_out = in_validation_set(ids, student.validation_fraction, config.seed)
    is_needed = student.exported_student == "best" or student.accuracy_every_stages is not None
    has_sweep = bool(config.sweep.space) and student.validation_fraction > 0
    if (is_needed or has_sweep) and not any(is_held_out):
        raise KpodError(
            f"none of {len(ids)} training questions falls into the validation set; "
            "raise student.validation_fraction"
        )
    if all(is_held_out):
        raise KpodError(
            f"all {len(ids)} training questions fall into the validation set; "
            "lower student.validation_fraction"
        )


def _check_teacher(config: RunConfig, questions: Sequence[Question]) -> None:
    """Check that there are rationales, worked examples and weights for the training questions."""
    teacher = config.teacher
    ids = {question.id for question in questions}
    has_reference = any(question.reference_rationale for question in questions)
    if isinstance(teacher, GeneratingTeacher):
        worked_examples(questions, teacher.num_shots)
    if isinstance(teacher, ReferenceTeacher) and not has_reference:
        raise KpodError(
            "teacher.kind=reference: no training question has a reference rationale; "
            "set questions.columns.rationale or questions.answer_separator, or another teacher"
        )
    if isinstance(config.weighting, FileWeighting):
        check_rows(config.weighting, ids)


def _check_rationales(teacher: FileTeacher, questions: Sequence[Question]) -> None:
    """Check that a file has a rationale of a training question, unless it falls back to others."""
    train = [question for question in questions if question.split == "train"]
    ids = {question.id for question in train}
    found = read_samples(teacher, questions)
    has_reference = any(question.reference_rationale for question in train)
    if teacher.fallback == "reference" and has_reference:
        return
    if not any(sample.question_id in ids for sample in found.samples):
        texts = (
            f"; nor the text of a question, such as {shortened(train[0].question)!r}, where the file "
            f"asks {shortened(found.example)!r}"
        )
        raise KpodError(
            f"rationales {teacher.path}: none of the {len(found.samples)} rows has the id of a training "
            f"question, such as {train[0].id!r}; check teacher.columns.id"
            f"{texts if found.example else ''}"
        )
