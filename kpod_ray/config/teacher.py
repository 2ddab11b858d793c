"""Settings of the teacher's rationales: source, sampling, filters, and split into reasoning steps."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from kpod_ray.config.base import Config, Line
from kpod_ray.config.engine import EngineArguments
from kpod_ray.config.questions import ColumnsConfig


class FiltersConfig(Config):
    """Filters of correct rationales. A rejected rationale is counted under the verdict of its filter."""

    max_chars: int = Field(200_000, ge=1)
    """Most characters of a rationale; a longer rationale is rejected as too long. The default lets the
    traces of reasoning models pass."""
    min_steps: int = Field(1, ge=1)
    """Fewest reasoning steps of a rationale, without the final sentence that announces the answer."""
    max_steps: int | None = Field(None, ge=1)
    """Most reasoning steps of a rationale; None is no limit."""
    min_tokens: int = Field(0, ge=0)
    """Fewest generated tokens of a rationale; rationales of unknown token count are accepted."""
    max_tokens: int | None = Field(None, ge=1)
    """Most generated tokens of a rationale; None is no limit."""
    near_duplicate: float | None = Field(None, gt=0, le=1)
    """Jaccard index of word triples from which a rationale is a duplicate of an earlier rationale of the
    same question. None rejects only equal texts, compared without case and white space."""
    allow_leaks: bool = False
    """Whether a rationale may state its answer before the reasoning, or without any reasoning."""
    self_consistency: float | None = Field(None, gt=0, le=1)
    """Fraction of a question's samples that must agree on an answer, for questions without a gold
    answer; samples without an answer don't count. The most frequent answer then takes the place of the
    gold answer; with less agreement all samples are rejected. None allows no questions without a gold
    answer."""

    @model_validator(mode="after")
    def _check_limits(self) -> FiltersConfig:
        for name in ("steps", "tokens"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if most is not None and least > most:
                raise ValueError(f"min_{name} is larger than max_{name}")
        return self


Template = Literal["chat", "plain"]
StopString = Annotated[str, StringConstraints(min_length=1)]
Selection = Literal["first", "shortest", "longest", "most_likely", "most_diverse"]


class SamplesConfig(Config):
    """Number of rationales to generate. After an increase, only the additional ones are generated."""

    per_question: int = Field(1, ge=1, le=10_000)
    """Rationales generated for each question in one round."""
    retry_rounds: int = Field(0, ge=0, le=1000)
    """Further rounds, each only for the questions without a correct rationale so far."""


class TeacherBase(Config):
    """Settings of all kinds of teachers."""

    resource_groups: ClassVar[tuple[str, ...]] = ()
    """Groups in ``resources`` that phase ``teacher`` takes."""
    fallback: Literal["drop", "reference"] = "drop"
    """Treatment of a training question of which no rationale was kept: ``drop`` leaves the question out,
    ``reference`` uses the question's reference rationale, if any (counted separately)."""
    filters: FiltersConfig = FiltersConfig()
    """Filters that a rationale must pass besides being correct."""
    selection: Selection = "first"
    """Rule that selects among a question's correct rationales: by sample index (``first``), by length in
    characters, by mean log-probability of a token, or by fewest shared words (``most_diverse``)."""
    thoughts: Literal["keep", "drop"] = "keep"
    """What happens to the text between ``<think>`` and ``</think>``, or from the start to ``</think>``,
    before a rationale is filtered: ``keep`` leaves text and marks in the rationale, ``drop`` removes
    them. Of a text without an end of the thoughts, ``drop`` leaves what is before ``<think>``."""
    num_kept: int = Field(1, ge=1)
    """Most rationales of a question that are kept; each is a training example of its own."""


class GeneratingTeacher(TeacherBase):
    """Settings of the teachers that generate rationales."""

    resource_groups: ClassVar[tuple[str, ...]] = ("teacher",)
    model: Line
    """Name of the model."""
    samples: SamplesConfig = SamplesConfig()
    """Number of rationales to generate."""
    temperature: float = Field(0.7, ge=0, le=100)
    """Sampling temperature; 0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Cumulative probability of nucleus sampling; 1 turns nucleus sampling off."""
    max_new_tokens: int = Field(256, ge=1, le=10_000_000)
    """Most tokens of a rationale; a rationale that reaches the limit is truncated and rejected."""
    stop: tuple[StopString, ...] = ()
    """Stop strings that end a rationale, in addition to the model's end-of-sequence token."""
    template: Template = "chat"
    """``chat`` renders the chat template of the model; ``plain`` writes Q: and A: lines."""
    system_prompt: str = ""
    """System message, or first paragraph of a ``plain`` prompt; empty is none."""
    instruction: str = ""
    """Line below every question, such as ``Let's think step by step.`` Empty is none."""
    num_shots: int = Field(0, ge=0, le=8)
    """Number of worked examples before the question."""

    @model_validator(mode="after")
    def _check_samples(self) -> GeneratingTeacher:
        wanted = self.samples.per_question + self.samples.retry_rounds
        if self.temperature == 0 and wanted > 1:
            raise ValueError("several samples at temperature 0 are all the same; set temperature")
        return self


class VllmTeacher(GeneratingTeacher):
    """Rationales generated by vLLM actors."""

    kind: Literal["vllm"]
    model: Line
    """A folder, a hub name, ``builtin:teacher`` (a tiny model for ``questions.style: verbose``),
    ``packaged:NAME`` (a model in an installed package) or ``tiny:SEED`` (a model with random parameters,
    for tests). ``trusted:`` before a folder or hub name lets the model's own Python code run."""
    engine_kwargs: EngineArguments = Field(default_factory=dict)
    """Further arguments of the vLLM engine, such as ``max_model_len`` or ``dtype``."""


class PriceConfig(Config):
    """Price of an endpoint for a million tokens, in any currency."""

    input: float = Field(0.0, ge=0, le=1e9)
    """Price of a million prompt tokens."""
    output: float = Field(0.0, ge=0, le=1e9)
    """Price of a million generated tokens."""


_OWN_FIELDS = ("model", "messages", "prompt", "n", "stream")
"""Fields of a request's body that can't be changed."""


class EndpointTeacher(GeneratingTeacher):
    """Rationales from a server with the OpenAI protocol, such as ``vllm serve``."""

    kind: Literal["endpoint"]
    base_url: str = Field(pattern=r"^https?://[^\s]+$")
    """Address of the server up to the version, such as ``https://api.openai.com/v1``, without a
    password. Requests go to ``/chat/completions`` (``template: chat``) or ``/completions`` (``plain``)
    below this address."""
    api_key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the API key in the process that starts the run; it
    ends in ``_API_KEY`` and may be unset. None takes ``OPENAI_API_KEY`` for OpenAI's own server and
    servers on this machine, and sends no key to others."""
    max_concurrent: int = Field(32, ge=1, le=10_000)
    """Most concurrent requests."""
    requests_per_minute: int | None = Field(None, ge=1)
    """Most requests in a minute; None is no limit."""
    tokens_per_minute: int | None = Field(None, ge=1)
    """Most tokens in a minute, prompt and generated tokens together; None is no limit."""
    timeout_s: float = Field(600.0, gt=0, le=604_800)
    """Seconds after which a request without a response is abandoned and sent again."""
    max_tries: int = Field(6, ge=1, le=1000)
    """Most attempts of a request while the server is busy or fails; afterwards the row is an error."""
    max_wait_s: float = Field(60.0, gt=0, le=604_800)
    """Longest wait between two attempts, in seconds. A longer Retry-After of the server is obeyed."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every request body, such as ``reasoning_effort``."""
    price: PriceConfig = PriceConfig()
    """Prices for the cost estimate."""
    max_cost: float | None = Field(None, gt=0, le=1e15)
    """Largest possible cost at which the run still starts, in the currency of ``price``; None is no
    limit."""

    @model_validator(mode="after")
    def _check_url(self) -> EndpointTeacher:
        if set("@?#\\") & set(self.base_url):
            raise ValueError(
                "base_url holds a user, password or parameter; the key comes from api_key_env"
            )
        try:
            is_whole = bool(urlsplit(self.base_url).hostname) and urlsplit(self.base_url).port != 0
        except ValueError:  # a port over 65535, or a bracket that isn't closed
            is_whole = False
        if not is_whole:
            raise ValueError("base_url has no host or a wrong port; give https://HOST:PORT/v1")
        return self

    @model_validator(mode="after")
    def _check_body(self) -> EndpointTeacher:
        own = [name for name in _OWN_FIELDS if name in self.extra_body]
        if own:
            raise ValueError(f"extra_body sets {own[0]}, which kpod sets itself; remove it")
        return self

    @model_validator(mode="after")
    def _check_cost(self) -> EndpointTeacher:
        if self.max_cost is not None and not (self.price.input or self.price.output):
            raise ValueError("max_cost needs price: without prices, all requests cost nothing")
        return self


class FileTeacher(TeacherBase):
    """Rationales from a JSON Lines, JSON, CSV, TSV or Parquet file."""

    kind: Literal["file"]
    path: Line
    """File of the rationales. Several rows of one question are several samples. A row belongs to the
    question with its id, or else to the question with the text of its question."""
    name: Line | None = None
    """Name of the teacher in the results; None takes the name of the file."""
    columns: ColumnsConfig = ColumnsConfig()
    """Names of the columns."""


class ReferenceTeacher(TeacherBase):
    """The reference rationales of the questions, such as the human solutions of GSM8K."""

    kind: Literal["reference"]
    fallback: Literal["reference"] = "reference"
    """Always ``reference``."""


TeacherConfig = Annotated[
    VllmTeacher | EndpointTeacher | FileTeacher | ReferenceTeacher, Field(discriminator="kind")
]


class StepsConfig(Config):
    """How rationales are split into reasoning steps."""

    split_newlines: bool = True
    """Whether a newline ends a reasoning step, in addition to full stops. The paper splits only at full
    stops (``false``)."""
