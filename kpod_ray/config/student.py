"""Settings of the student, its training and its evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from kpod_ray.config.base import Config, LearningRate, Line, Seed
from kpod_ray.config.engine import EngineArguments
from kpod_ray.config.questions import QuestionsConfig, SplitConfig
from kpod_ray.config.teacher import Template


class LoraConfig(Config):
    """Low-rank adapters (LoRA); all other parameters of the student are frozen."""

    rank: int = Field(ge=1, le=65_536)
    """Rank of the adapters."""
    alpha: int | None = Field(None, ge=1, le=1_000_000)
    """Scale of the adapters: an adapter's output is multiplied by ``alpha / rank``. None is equal to
    ``rank``, a factor of 1."""
    target_modules: tuple[Line, ...] | None = Field(None, min_length=1)
    """Names of the linear layers that get an adapter. None selects all linear layers of attention and
    feed-forward layers."""


class StudentConfig(Config):
    """The student and its training (Eq. 15)."""

    model: Line
    """Model to train, causal or encoder-decoder: a folder, a hub name, ``builtin:student`` (for
    ``questions.style: verbose``), ``packaged:NAME``, ``tiny:SEED`` or ``tiny-t5:SEED``; see
    ``teacher.model``."""
    template: Template = "chat"
    """How a question is rendered: ``chat`` uses the model's chat template, ``plain`` writes Q: and A:
    lines."""
    token_weights: Literal["from_weighting", "uniform", "shuffled"] = "from_weighting"
    """Weights of the rationale tokens in the loss: those of ``weighting`` (``from_weighting``, Eq.
    15); 1 for all tokens (``uniform``, Eq. 14, w.o.-sig in the paper); or, as a control, those of
    ``weighting`` in a random order within each rationale (``shuffled``)."""
    boundary: bool = True
    """Whether the first token of every reasoning step has the weight of the closing words in the loss,
    1. If false (Eq. 15 as written), a step whose first token weighs less than the closing words, with
    which it competes, is generated too rarely: the student stops early."""
    loss: Literal["nll", "dft"] = "nll"
    """Loss of a token before the token weight is applied: the negative log-likelihood (``nll``), or the
    negative log-likelihood times the student's probability of the token (``dft``). No gradient flows
    through this probability."""
    target: Literal["rationale", "answer"] = "rationale"
    """What the student learns to generate: the rationale followed by the answer (``rationale``), or only
    the ``answer``."""
    seed: Seed | None = None
    """Seed of the training: order of the examples and all other random numbers of phase ``train``. None
    takes the run's ``seed``. Comparisons vary this seed over one shared corpus."""
    loss_token_budget: int | None = Field(None, ge=1, le=10**15)
    """Number of tokens in the loss after which the training ends, also in the middle of a stage; if the
    stages are too few, further stages follow. None ends the training after the last stage."""
    validation_fraction: float = Field(0.0, ge=0, lt=1)
    """Fraction of the questions in the validation set, which the student is never trained on. A
    seeded hash of the question ids chooses them. Loss and token accuracy on the validation set are
    measured after every stage."""
    accuracy_every_stages: int | None = Field(None, ge=1)
    """Number of stages between two measurements of the validation accuracy, for which the student
    answers the validation questions greedily. The last stage is measured, too. None measures no
    accuracy. An actor with ``resources.evaluate`` answers the questions beside the training, or after
    the training if the resources don't suffice for both."""
    exported_student: Literal["last", "best"] = "last"
    """Which student is exported: the ``last`` one or the ``best`` one. The best student has the highest
    validation accuracy; without ``accuracy_every_stages``, the lowest validation loss."""
    learning_rate: LearningRate = 1e-5
    """Largest learning rate of AdamW."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate after the warm-up: ``constant``, or falling to 0 at the end of the training along a
    line (``linear``) or a cosine."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training in which the learning rate rises linearly from 0."""
    weight_decay: float = Field(0.0, ge=0, le=1000)
    """Weight decay of AdamW."""
    global_batch_size: int = Field(8, ge=1, le=1_000_000)
    """Number of examples of one train step, over all workers."""
    micro_batch_tokens: int = Field(2048, ge=1, le=1_000_000_000)
    """Largest number of tokens of one forward pass on one worker, padding included; a longer example
    is a pass of its own. The setting changes memory and speed, but not the result. On a GPU, choose
    the largest number that fits into the memory."""
    packing: bool = True
    """Whether examples are packed one after the other without padding, if the model's attention supports
    that. Otherwise, and without ``kernels``, examples of similar length are padded to the longest."""
    kernels: bool = True
    """Whether kpod_ray's own kernels compute the student: logits chunk by chunk, layers that are
    recomputed in the backward pass, packed attention, fused adapters. If false, the model's own
    layers and torch's own operations are used, which need more time and memory; results differ only
    by rounding."""
    max_length: int = Field(1024, ge=16, le=100_000_000)
    """Largest number of tokens of an example."""
    overlength: Literal["drop", "cut"] = "drop"
    """What happens to an example with more than ``max_length`` tokens: ``drop`` leaves it out,
    ``cut`` ends it after the last reasoning step that fits, without its answer. The numbers of both
    are reported."""
    loss_normalization: Literal["tokens", "weight", "examples"] = "tokens"
    """Divisor of the summed loss of a train step: the number of tokens in the loss (``tokens``), their
    total weight (``weight``), or the number of examples (``examples``)."""
    max_grad_norm: float | None = Field(1.0, gt=0, le=1e9)
    """Largest gradient norm, to which gradients are clipped; None turns clipping off."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Floating-point type of the computation; parameters stay fp32."""
    gradient_checkpointing: bool = False
    """Whether the backward pass recomputes the inside of each layer: less memory, more time, the same
    result."""
    lora: LoraConfig | None = None
    """Low-rank adapters to train instead of all parameters; None trains all parameters."""

    @model_validator(mode="after")
    def _check_validation(self) -> StudentConfig:
        wants = {
            "exported_student best": self.exported_student == "best",
            "accuracy_every_stages": self.accuracy_every_stages is not None,
        }
        for setting, is_wanted in wants.items():
            if is_wanted and not self.validation_fraction:
                raise ValueError(f"{setting} needs validation_fraction over 0")
        return self


def _checked_set_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", name):
        raise ValueError(
            "the name of a set is at most 40 lower-case letters, digits, _ and -, and starts with a "
            "letter or a digit"
        )
    return name


SetName = Annotated[str, AfterValidator(_checked_set_name)]
"""Name of a further test set, which is a part of file names. Without capital letters, no two names are
the same file on a file system that ignores case."""


def _without_null(sets: Any) -> Any:
    """Return further sets without those that are None; None itself is no sets."""
    if isinstance(sets, Mapping):
        return {name: source for name, source in sets.items() if source is not None}
    return {} if sets is None else sets


def _checked_source(source: QuestionsConfig) -> QuestionsConfig:
    if isinstance(source, SplitConfig) and source.allow_missing_answers:
        raise ValueError("allow_missing_answers: a test question needs an answer; remove the key")
    return source


FurtherSet = Annotated[QuestionsConfig, AfterValidator(_checked_source)]
FurtherSets = Annotated[dict[SetName, FurtherSet], BeforeValidator(_without_null)]


class EvaluationConfig(Config):
    """Evaluation of the student by greedy answers to the test questions."""

    backend: Literal["vllm", "transformers"] = "vllm"
    """Library that generates the answers. ``transformers`` starts in seconds and supports
    encoder-decoder students, which ``vllm`` does not."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Number of questions that ``transformers`` answers at the same time; vLLM chooses the number
    itself."""
    max_new_tokens: int = Field(256, ge=1, le=10_000_000)
    """Largest number of tokens of an answer."""
    limit: int | None = Field(None, ge=1)
    """Number of test questions to answer, from the first on; None answers all. It holds for each
    further set, too."""
    engine_kwargs: EngineArguments = Field(default_factory=dict)
    """Further arguments of the vLLM engine, by name."""
    also: FurtherSets = Field(default_factory=dict)
    """Further test sets by name, each a source of questions with the keys of ``questions``:
    ``{asdiv: {source: file, path: asdiv.jsonl}}``. The untouched and the distilled student answer the
    test questions of the source, or all its questions if none is a test question, but not those that
    repeat a training question of the run or another question of the set. None leaves out a set, or all
    of them, that a base config names."""
