"""Tokenised training examples: prompt, target, and the weight and reasoning step of every target token.

The same example serves all stages: with c given steps, the target tokens of the steps c, c + 1, ... and
of the answer are in the loss, and the target tokens before them are only input.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kpod_ray.algorithm.steps import steps_of_tokens
from kpod_ray.data.prompts import Template, encode_prompt, question_text, target_text
from kpod_ray.data.token_kinds import KEYPOINT, token_kinds
from kpod_ray.data.tokens import encode_text
from kpod_ray.records import Question, Record, WeightedRationale


@dataclasses.dataclass(frozen=True, slots=True)
class Example(Record):
    """One question with its rationale and answer, tokenised for one student.

    The target ends with the answer segment: closing words, gold answer and end-of-sequence token. The
    target of a cut example (`cut_example`) ends after a reasoning step.
    """

    question_id: str
    """Id of the question or of the question's copy."""
    prompt_ids: Sequence[int]
    """Token ids of the rendered question."""
    target_ids: Sequence[int]
    """Token ids of the rationale and the answer segment; either may be missing (`cut_example`,
    `answer_alone`)."""
    token_weights: Sequence[float]
    """Weight of each target token: w of Eq. 3 in the rationale, 1 in the answer segment. In a training
    example (`training_example`), the weight in the loss."""
    token_steps: Sequence[int]
    """0-based reasoning step of each target token; ``num_steps`` in the answer segment. The values
    never decrease."""
    token_keypoints: Sequence[bool]
    """Whether each target token is a keypoint (`token_kinds`); false in the answer segment."""
    token_boundaries: Sequence[bool]
    """Whether the student decides at each target token between a further reasoning step and the answer:
    at the first token of a step, at white space before this token, and as long as the tokens of the step
    so far are those of the closing words."""
    num_steps: int
    """Number of reasoning steps of the rationale that was tokenised, or of what `cut_example` kept."""

    schema: ClassVar[pa.Schema] = pa.schema(
        {
            "question_id": pa.string(),
            "prompt_ids": pa.list_(pa.int32()),
            "target_ids": pa.list_(pa.int32()),
            "token_weights": pa.list_(pa.float32()),
            "token_steps": pa.list_(pa.int32()),
            "token_keypoints": pa.list_(pa.bool_()),
            "token_boundaries": pa.list_(pa.bool_()),
            "num_steps": pa.int32(),
        }
    )

    def num_tokens(self) -> int:
        """Return the number of tokens of prompt and target."""
        return len(self.prompt_ids) + len(self.target_ids)

    def with_target(self, positions: Sequence[int]) -> Example:
        """Return a copy whose target has only the tokens at some ascending positions of the target."""
        return dataclasses.replace(
            self,
            target_ids=[self.target_ids[j] for j in positions],
            token_weights=[self.token_weights[j] for j in positions],
            token_steps=[self.token_steps[j] for j in positions],
            token_keypoints=[self.token_keypoints[j] for j in positions],
            token_boundaries=[self.token_boundaries[j] for j in positions],
        )


def build_example(
    tokenizer: Any, question: Question, rationale: WeightedRationale, template: Template
) -> Example:
    """Tokenise a question and its weighted rationale for a student; nothing is truncated.

    Args:
        tokenizer: fast tokenizer of the student, with an end-of-sequence token.
        question: the question; its gold answer ends the target.
        rationale: the question's rationale with reasoning steps and token weights. White space at the
            end of its text is left out.
        template: how the question is rendered.

    Raises:
        KpodError: The template is ``chat``, and the tokenizer has no chat template.
        ValueError: The rationale has no reasoning step, its step starts don't ascend, or the numbers of
            its spans and token weights differ.
        NotImplementedError: The tokenizer isn't fast.
    """
    text, answer_start = target_text(rationale.text, question.answer)
    ids, starts, ends = encode_with_spans(tokenizer, text)
    num_steps = len(rationale.step_starts)
    in_answer = starts >= answer_start
    steps = np.where(in_answer, num_steps, steps_of_tokens(starts, rationale.step_starts))
    weights = np.where(in_answer, 1.0, spread_weights(rationale, starts, ends))
    keypoints = ~in_answer & (token_kinds(text, starts.tolist(), ends.tolist()) == KEYPOINT)
    blanks = [not text[a:b].strip() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    return Example(
        question_id=question.id,
        prompt_ids=encode_prompt(tokenizer, question_text(question), template),
        target_ids=[*ids, tokenizer.eos_token_id],
        token_weights=[*weights.tolist(), 1.0],
        token_steps=[*steps.tolist(), num_steps],
        token_keypoints=[*keypoints.tolist(), False],
        token_boundaries=[*_boundaries(ids, steps.tolist(), blanks, num_steps), False],
        num_steps=num_steps,
    )


def _boundaries(
    ids: Sequence[int], steps: Sequence[int], blanks: Sequence[bool], num_steps: int
) -> list[bool]:
    """Return whether each token is a boundary; see `Example.token_boundaries`.

    ``ids`` and ``steps`` have the id and the step of each token, ``blanks`` whether it is white space
    alone.
    """
    begins = [j == 0 or step != steps[j - 1] for j, step in enumerate(steps)]
    # A newline that ends a step belongs to this step, but is what the student writes to go on: the
    # closing words follow the last full stop without a newline.
    for j in range(len(begins) - 1, 0, -1):
        begins[j - 1] |= begins[j] and blanks[j - 1] and steps[j] < num_steps
    closing = [index for index, step in zip(ids, steps, strict=True) if step == num_steps]
    for start in [j for j, begin in enumerate(begins) if begin and not (j and begins[j - 1])]:
        # A step that starts like the closing words, if only with a blank, parts from them later.
        pairs = zip(ids[start:-1], closing, strict=False)
        num_equal = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        begins[start : start + num_equal + 1] = [True] * (num_equal + 1)
    return [is_first and step < num_steps for is_first, step in zip(begins, steps, strict=True)]


def cut_example(example: Example, max_length: int) -> Example | None:
    """Return a copy of an example that ends after the last reasoning step that fits, without the answer.

    The answer segment is left out even if the whole example fits: call `cut_example` only for an example
    of over ``max_length`` tokens.

    Args:
        example: the example with its whole target.
        max_length: largest number of tokens of prompt and target together.

    Returns:
        The copy, whose ``num_steps`` is the number of steps left; None if not even the prompt and the
        first reasoning step fit.
    """
    room = max_length - len(example.prompt_ids)
    steps = example.token_steps
    ends = [j for j in range(1, len(steps)) if steps[j] != steps[j - 1] and j <= room]
    if not ends:
        return None
    end = ends[-1]
    return dataclasses.replace(example.with_target(range(end)), num_steps=steps[end - 1] + 1)


def encode_with_spans(
    tokenizer: Any, text: str
) -> tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokenise a text as `encode_text` does.

    Returns:
        Token ids; the character at which each token starts, after the token's leading white space (a
        token of white space alone starts at its first character); the character before which each token
        ends. All have the same length, which is 0 for an empty text.

    Raises:
        NotImplementedError: The tokenizer isn't fast.
    """
    # Tokenizers differ in whether the blank before a word belongs to the word's span. With the blank,
    # the first word after a full stop would start in the preceding reasoning step.
    tokens = encode_text(tokenizer, text)
    spans = np.array(tokens.spans, dtype=np.int64).reshape(-1, 2)
    starts, ends = spans[:, 0].copy(), spans[:, 1]
    for i, (start, end) in enumerate(spans.tolist()):
        piece = text[start:end]
        blanks = len(piece) - len(piece.lstrip())
        starts[i] = start + blanks if blanks < len(piece) else start
    return tokens.ids, starts, ends


def spread_weights(
    rationale: WeightedRationale, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Map the token weights of a rationale to other spans of its text, such as a student's tokens.

    The weight of a span is the mean weight of its characters. A character has the weight of the
    rationale's token that covers it; a character without a token doesn't count, and a character of two
    tokens counts twice. An empty span gets the mean weight of the rationale's empty spans at the same
    position. A span without any such weight gets the mean weight of all tokens of the rationale, or 1 if
    there are none.

    Args:
        rationale: a rationale with token weights.
        starts: [N], character of ``rationale.text`` at which each span starts.
        ends: [N], character before which each span ends. Positions behind the text are allowed.

    Returns:
        The weight of each span, [N].

    Raises:
        ValueError: The numbers of starts, ends and weights of the rationale's tokens differ.
    """
    sums = np.zeros(len(rationale.text) + 1)
    counts = np.zeros(len(rationale.text) + 1)
    spans = zip(rationale.token_starts, rationale.token_ends, rationale.token_weights, strict=True)
    empty = dict[int, list[float]]()
    for start, end, weight in spans:
        sums[start:end] += weight
        counts[start:end] += 1
        if start == end:
            empty.setdefault(start, []).append(weight)
    last = len(rationale.text)
    totals = _range_sums(sums, starts, ends, last)
    covered = _range_sums(counts, starts, ends, last)
    mean = float(np.mean(rationale.token_weights)) if len(rationale.token_weights) else 1.0
    is_empty = (starts == ends).tolist()
    uncovered = [
        float(np.mean(empty[start])) if is_point and start in empty else mean
        for start, is_point in zip(starts.tolist(), is_empty, strict=True)
    ]
    return np.where(covered > 0, totals / np.maximum(covered, 1), uncovered)


def _range_sums(
    values: npt.NDArray[np.float64],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    last: int,
) -> npt.NDArray[np.float64]:
    """Return the sum of the values in each range; ranges are cut off at ``last``."""
    cumulative = np.concatenate([[0.0], np.cumsum(values)])
    return cumulative[np.minimum(ends, last)] - cumulative[np.minimum(starts, last)]
