"""The student, its optimisation and its evaluation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from kpod_ray.config.base import Config
from kpod_ray.config.teacher import Template


class LoraConfig(Config):
    """Low-rank adapters; everything else of the student is frozen."""

    rank: int = Field(ge=1)
    """Width of an adapter."""
    alpha: int | None = Field(None, ge=1)
    """An adapter's output is multiplied by alpha / rank; None is ``rank``: a factor of 1."""
    target_modules: tuple[str, ...] | None = None
    """Names of the linear layers that get an adapter; None: all of attention and feed-forward."""


class StudentConfig(Config):
    """The student and its optimisation (Eq. 15)."""

    model: str
    """A folder, a hub name, ``packaged:NAME``, ``tiny:SEED`` or ``tiny-t5:SEED``, causal or
    encoder-decoder; see ``teacher.model``."""
    template: Template = "chat"
    """``chat`` renders the model's chat template; ``plain`` writes Q: and A: lines."""
    token_weights: Literal["from_weighting", "uniform"] = "from_weighting"
    """Weight of a rationale token in the loss: as ``weighting`` says (Eq. 15), or 1 (``uniform``,
    Eq. 14, the paper's w.o.-sig)."""
    loss: Literal["nll", "dft"] = "nll"
    """Loss of a token, which its weight multiplies: the negative log-likelihood (``nll``), or that times
    the student's own probability of the token, without a gradient through it (``dft``)."""
    target: Literal["rationale", "answer"] = "rationale"
    """What the student writes: the rationale and then the answer, or the ``answer`` alone."""
    seed: int | None = Field(None, ge=0)
    """Seed of the training alone: order of the examples and everything random; None takes the
    run's. Comparisons vary it over one shared corpus."""
    loss_token_budget: int | None = Field(None, ge=1)
    """Training ends when so many tokens have been in the loss, in the middle of a stage or, all
    steps written, after further epochs; None ends with the last stage."""
    validation_fraction: float = Field(0.0, ge=0, lt=1)
    """Share of the questions that are never trained on, chosen by a seeded hash of their ids: loss and
    token accuracy on their whole rationales are measured after every stage."""
    accuracy_every_stages: int | None = Field(None, ge=1)
    """The questions held out are also answered, greedily, by the student as it is after every so many
    stages, and after the last; None: never. An actor of ``resources.evaluate`` does it beside the
    training, or after it where there is no room for both."""
    exported_student: Literal["last", "best"] = "last"
    """Which student is exported: the ``last``, or the ``best``. The best has the highest accuracy on the
    validation questions, or without ``accuracy_every_stages`` the lowest loss on them."""
    learning_rate: float = Field(1e-5, gt=0)
    """Largest AdamW learning rate."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How it changes after the warm-up: not at all, or down to 0 at the end of the training."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the training in which the learning rate rises evenly from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""
    global_batch_size: int = Field(8, ge=1)
    """Examples of one train step, over all workers."""
    micro_batch_tokens: int = Field(2048, ge=1)
    """Tokens of one forward pass on one worker, padding counted; a longer example is a pass of its
    own. It bounds the memory and changes nothing else. A GPU wants as many as it has memory for."""
    packing: bool = True
    """Examples one after the other without padding, where the model's attention can keep them apart;
    else, and if false or without ``kernels``, those of similar length are padded to the longest."""
    kernels: bool = True
    """Whether our own kernels compute the student: logits chunk by chunk, layers that are recomputed in
    the backward pass, packed attention, fused adapters. If false, the model's own layers and torch's own
    operations do; time and memory grow, results change by rounding alone."""
    max_length: int = Field(1024, ge=16)
    """Longest example in tokens."""
    overlength: Literal["drop", "cut"] = "drop"
    """What becomes of a longer one: ``drop`` sets it aside; ``cut`` ends it after the last reasoning
    step that fits, without its answer. Both are counted."""
    loss_normalization: Literal["tokens", "weight", "examples"] = "tokens"
    """What the summed loss of a train step is divided by: its tokens in the loss, their total
    weight, or its examples."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Gradient clipping; None is off."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Type of the arithmetic; parameters stay fp32."""
    gradient_checkpointing: bool = False
    """Whether what is inside a layer is computed again in the backward pass: less memory,
    more time, the same result."""
    lora: LoraConfig | None = None
    """Adapters that are trained in place of all parameters; None trains all parameters."""

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


class EvaluationConfig(Config):
    """Greedy answers of the student to the test questions."""

    backend: Literal["vllm", "transformers"] = "vllm"
    """What generates. ``transformers`` starts in seconds, and takes encoder-decoder students, which
    vLLM does not."""
    batch_size: int = Field(128, ge=1)
    """Questions answered at the same time by ``transformers``; vLLM chooses by itself."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest answer, in tokens."""
    limit: int | None = Field(None, ge=1)
    """Only the first so many test questions; None takes all."""
    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further vLLM engine arguments."""
