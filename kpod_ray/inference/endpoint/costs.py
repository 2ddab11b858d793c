"""The cost of an endpoint: an estimate before the requests are sent, and the cost afterwards.

The estimate assumes one token for every four characters of a prompt, which holds for English; other
scripts need more tokens. A generated text is expected to have half of ``max_new_tokens``. The cost
afterwards is computed from the numbers of tokens of the completions. Failed attempts, which some servers
charge for, and completions of a server that reports no numbers of tokens are not included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kpod_ray.config import EndpointTeacher, PriceConfig
from kpod_ray.data.prompts import PromptAffixes, Shot, plain_text

CHARS_PER_TOKEN = 4
"""Assumed characters of a prompt per token."""
_EXPECTED_FRACTION = 0.5
"""Expected length of a generated text as a fraction of ``max_new_tokens``."""


@dataclasses.dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of requests that aren't sent yet, in the currency of the prices."""

    num_requests: int
    num_prompt_tokens: float
    """Tokens of all prompts, at `CHARS_PER_TOKEN` characters each."""
    expected: float
    """Cost if every text has half of ``max_new_tokens``."""
    largest: float
    """Cost if every text has ``max_new_tokens``."""

    def __str__(self) -> str:
        return (
            f"{self.num_requests:,} requests: about {self.expected:,.2f}, "
            f"at most {self.largest:,.2f}"
        )


def estimate(
    teacher: EndpointTeacher, shots: Sequence[Shot], num_requests: int, num_question_chars: int
) -> CostEstimate:
    """Estimate the cost of requests to an endpoint, each sent once; the endpoint isn't called.

    Every prompt is counted with the worked examples, the system message and the instruction, at
    `CHARS_PER_TOKEN` characters per token; every generated text with half of ``max_new_tokens``
    (``expected``) or with ``max_new_tokens`` (``largest``).

    Args:
        teacher: settings of the endpoint, with the prices.
        shots: result of `worked_examples`: one more than a prompt contains, or none.
        num_requests: number of requests.
        num_question_chars: characters of the questions' texts, from `question_text`, summed over all
            requests: a question with several requests counts several times.
    """
    affixes = PromptAffixes(teacher.system_prompt, teacher.instruction)
    num_other_chars = len(plain_text("", shots[:-1], affixes))  # of one prompt without the question
    num_chars = num_question_chars + num_requests * num_other_chars
    num_prompt_tokens = num_chars / CHARS_PER_TOKEN
    most_tokens = num_requests * teacher.max_new_tokens
    return CostEstimate(
        num_requests,
        num_prompt_tokens,
        cost(num_prompt_tokens, most_tokens * _EXPECTED_FRACTION, teacher.price),
        cost(num_prompt_tokens, most_tokens, teacher.price),
    )


def cost(num_prompt_tokens: float, num_tokens: float, price: PriceConfig) -> float:
    """Return the cost of prompt tokens and generated tokens, in the currency of the prices.

    The fields ``input`` and ``output`` of ``price`` are the prices of a million prompt tokens and of a
    million generated tokens.
    """
    return (num_prompt_tokens * price.input + num_tokens * price.output) / 1e6
