"""The sides that `benchmarks.training` compares: ours, TRL's SFTTrainer, transformers' Trainer."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Callable
from typing import Any, Literal

import torch

from benchmarks.random_models import SMOLLM2, random_or_known
from benchmarks.training_clock import ON_GPU, WARM_UP_STEPS, Clock
from kpod_ray.config import FileQuestions, FileTeacher, LoraConfig, StudentConfig
from kpod_ray.data.examples import Example, build_example
from kpod_ray.data.prompts import Template
from kpod_ray.data.sampler import global_batches
from kpod_ray.kernels.recomputed_layers import use_recomputed_layers
from kpod_ray.models.device import compute_dtype, device
from kpod_ray.models.packing import use_packing
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.questions.loading import load_questions
from kpod_ray.records import Rationale
from kpod_ray.teacher.rationale_files import read_samples
from kpod_ray.training.build import add_adapters
from kpod_ray.training.trainer import StudentTraining, TrainingSet, WorkerRank
from kpod_ray.weighting.given_weights import unweighted

MODEL = SMOLLM2
RANK = 64
LEARNING_RATE = 1e-5
NUM_STAGES = 4
"""Stages of the side ``ours-kpod``: the loss covers the last quarter, half, three quarters and all of
a rationale's steps."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """Model, batch and precision, the same for every side."""

    is_lora: bool
    precision: Literal["bf16", "fp32"]
    """bf16 means autocast to bf16 with fp32 parameters."""
    model: str = MODEL
    batch: int = 8
    """Examples per optimizer update."""
    micro_batch_tokens: int = StudentConfig.model_fields["micro_batch_tokens"].default
    """Tokens per forward pass of our side; the other sides put the whole batch into one pass."""
    template: Template = "chat"
    """Template of the prompts; with ``chat`` all prompts share a prefix."""


def load_examples(data: str, tokenizer: Any, template: Template) -> list[Example]:
    """Return examples of SVAMP's training questions, PaLM 540B's rationales and token weights of 1."""
    questions = FileQuestions(source="file", path=f"{data}/svamp/train.jsonl")
    by_id = {question.id: question for question in load_questions(questions, 0).questions}
    teacher = FileTeacher(kind="file", path=f"{data}/svamp/teacher_palm540b.jsonl")
    examples = []
    for sample in read_samples(teacher, by_id.values()).samples:
        if sample.question_id not in by_id:
            continue
        question = by_id[sample.question_id]
        row = Rationale("", question.id, 0, sample.text, "", "", 0, question.answer, "kept")
        rationale = unweighted(row, split_newlines=True)
        examples.append(build_example(tokenizer, question, rationale, template))
    return examples


def our_training(examples: list[Example], folder: str, setting: Setting) -> StudentTraining:
    """Return our training, set up as in a training worker without Ray.

    Args:
        examples: training examples.
        folder: folder of the student's model.
        setting: model, batch and precision.
    """
    student = load_student(folder, compute_dtype(setting.precision)).eval()
    assert use_packing(student, max(example.num_tokens() for example in examples))
    lora = LoraConfig(rank=RANK) if setting.is_lora else None
    if lora is not None:
        add_adapters(student.language_model, lora)
    config = StudentConfig(
        model=setting.model,
        learning_rate=LEARNING_RATE,
        lora=lora,
        precision=setting.precision,
        micro_batch_tokens=setting.micro_batch_tokens,
    )
    padding = pad_id(load_tokenizer(folder))
    training_set = TrainingSet(examples, "from_weighting", padding, 0)
    use_recomputed_layers(student.language_model)
    student.to(device())
    return StudentTraining(student, student, config, training_set, WorkerRank(0, 1))


def ours(examples: list[Example], folder: str, setting: Setting, steps: int, stages: int) -> Clock:
    """Train as a training worker does; with one stage, all steps of the rationales are supervised."""
    clock = Clock()
    training = our_training(examples, folder, setting)
    for stage in range(1, stages + 1):
        given = {e.question_id: math.floor(e.num_steps * (1 - stage / stages)) for e in examples}
        every = range(len(training.examples))
        batches = global_batches(every, setting.batch, num_train_steps=steps, seed=0, stage=stage)
        for indices in batches[
            : math.ceil((steps - WARM_UP_STEPS) / stages) + WARM_UP_STEPS * (stage == 1)
        ]:
            clock.start()
            metrics = training.train_step(indices, given, 0.0)
            clock.stop()
            clock.tokens.append(int(metrics["tokens"]))
            clock.slots.append(round(metrics["tokens"] / (1 - metrics["padding_fraction"])))
    return clock


def trl(
    examples: list[Example], folder: str, setting: Setting, steps: int, **arguments: Any
) -> Clock:
    """Train with TRL's SFTTrainer; ``arguments`` are further fields of its SFTConfig."""
    import trl as library
    from datasets import Dataset

    rows = [
        {
            "input_ids": [*e.prompt_ids, *e.target_ids],
            "completion_mask": [0] * len(e.prompt_ids) + [1] * len(e.target_ids),
        }
        for e in examples
    ]
    settings, clock = _trainer_settings(setting, steps), Clock()
    trainer = library.SFTTrainer(
        model=_plain_model(folder, setting),
        args=library.SFTConfig(**settings, completion_only_loss=True, **arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(folder),
    )
    return _timed(trainer, clock)


def plain(
    examples: list[Example], folder: str, setting: Setting, steps: int, **arguments: Any
) -> Clock:
    """Train with transformers' Trainer, which computes the logits of all positions at once."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    rows = [
        {
            "input_ids": [*e.prompt_ids, *e.target_ids],
            "labels": [-100] * len(e.prompt_ids) + list(e.target_ids),
        }
        for e in examples
    ]
    clock = Clock()
    trainer = Trainer(
        model=_plain_model(folder, setting),
        args=TrainingArguments(**_trainer_settings(setting, steps), **arguments),
        train_dataset=Dataset.from_list(rows),
        data_collator=DataCollatorForSeq2Seq(load_tokenizer(folder)),
    )
    return _timed(trainer, clock)


def _plain_model(folder: str, setting: Setting) -> Any:
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if not setting.is_lora:
        return model
    adapters = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules="all-linear")
    return peft.get_peft_model(model, adapters)


def _trainer_settings(setting: Setting, steps: int) -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": steps,
        "per_device_train_batch_size": setting.batch,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "bf16": setting.precision == "bf16",
        "use_cpu": not ON_GPU,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def _timed(trainer: Any, clock: Clock) -> Clock:
    """Train, recording tokens and seconds of every step."""
    from transformers import TrainerCallback

    class Timer(TrainerCallback):
        """Records the seconds of every step."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            """Start the clock."""
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            """Stop the clock."""
            clock.stop()

    trainer.data_collator = clock.collating(trainer.data_collator)
    trainer.add_callback(Timer())
    trainer.train()
    return clock


GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
SIDES: dict[str, Callable[..., Clock]] = {
    "ours": functools.partial(ours, stages=1),
    "trl": trl,
    "trl-grouped": functools.partial(trl, **GROUPED),
    "trl-padding-free": functools.partial(trl, padding_free=True, max_length=None),
    "trainer": plain,
    "trainer-grouped": functools.partial(plain, **GROUPED),
    "trl-liger": functools.partial(trl, use_liger_kernel=True),
    "ours-kpod": functools.partial(ours, stages=NUM_STAGES),
}


NEED_GPU = {"trl-liger"}
"""Sides whose kernels need a GPU."""


def measure(data: str, side: str, setting: Setting, steps: int) -> dict[str, float]:
    """Train with one side in this process; return its figures (see `Clock.figures`)."""
    torch.manual_seed(0)
    folder = random_or_known(setting.model)
    examples = load_examples(data, load_tokenizer(folder), setting.template)
    return SIDES[side](examples, folder, setting, steps).figures()
