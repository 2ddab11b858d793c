"""What an endpoint costs, before and after.

Before, a prompt has a token for every four characters, as English has; other scripts have more. An
answer has at most ``max_new_tokens``, and is expected to have half of them. Each request counts once.

After, the tokens are those of the completions. What isn't among them isn't counted: tries that failed,
which some servers charge for, and the answers of a server that tells no numbers of tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kpod_ray.config import EndpointTeacher, PriceConfig
from kpod_ray.data.prompts import PromptAffixes, Shot, plain_text

CHARS_PER_TOKEN = 4
_EXPECTED_FRACTION = 0.5


@dataclasses.dataclass(frozen=True)
class CostEstimate:
    """Cost of requests that aren't sent yet, in the currency of the prices."""

    num_requests: int
    expected: float
    largest: float

    def __str__(self) -> str:
        return (
            f"{self.num_requests:,} requests: about {self.expected:,.2f}, "
            f"at most {self.largest:,.2f}"
        )


def estimate(
    teacher: EndpointTeacher, shots: Sequence[Shot], num_requests: int, num_question_chars: int
) -> CostEstimate:
    """Estimate the cost of requests.

    Args:
        teacher: whom they are sent to.
        shots: worked examples, one more than are put before a question, or none.
        num_requests: how many.
        num_question_chars: characters of their questions together.
    """
    around = len(
        plain_text("", shots[:-1], PromptAffixes(teacher.system_prompt, teacher.instruction))
    )
    prompts = (num_question_chars + num_requests * around) / CHARS_PER_TOKEN
    answers = num_requests * teacher.max_new_tokens
    return CostEstimate(
        num_requests,
        cost(prompts, answers * _EXPECTED_FRACTION, teacher.price),
        cost(prompts, answers, teacher.price),
    )


def cost(num_prompt_tokens: float, num_tokens: float, price: PriceConfig) -> float:
    """Return the cost of so many tokens of prompts and answers."""
    return (num_prompt_tokens * price.input + num_tokens * price.output) / 1e6
