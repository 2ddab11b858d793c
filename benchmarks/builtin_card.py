"""The model card of the built-in models."""

from __future__ import annotations

from typing import Any

from benchmarks.builtin_data import MOST_STEPS

_TEXT = """\
---
license: apache-2.0
language: en
---
# builtin:teacher and builtin:student

Two tiny Llama models, in bf16, for the built-in questions with `style: verbose`, and for nothing else:
they know the words of those questions and rationales, and numbers up to 20. `builtin:teacher` generates
verbose rationales of up to 8 reasoning steps, not all of them right. `builtin:student` writes the same
language, but solves only questions of one or two steps: it was trained on longer ones, too, but mostly
without filler, and not in the last stage. Both have the same tokenizer: a token is a word, a sign or a
digit. The chat template renders what `template: plain` renders.

Both were trained from random parameters by

    python -m benchmarks.builtin_models

on texts of the question generator alone. The questions of the training are reserved by a hash of their
text: no seed of the generator gives such a question, neither for training nor for tests. The table has
the accuracy on {num_questions} unseen questions, equally many of each number of steps; samples are drawn
at temperature {temperature}.

| | {models} |
|---|{rules}|
{rows}
"""


def model_card(figures: dict[str, Any], num_questions: int, temperature: float) -> str:
    """Return the text of the card; ``figures`` is name of the model -> result of its making."""
    rows = [
        ["parameters", *(f"{made['parameters']:,}" for made in figures.values())],
        ["updates", *(f"{made['recipe']['stages'][-1][0]:,}" for made in figures.values())],
        [
            "most reasoning steps at the end of the training",
            *(str(made["recipe"]["stages"][-1][1]) for made in figures.values()),
        ],
    ]
    for kind in ("greedy", "sampled"):
        for steps in ("2 to 8", *map(str, range(1, MOST_STEPS + 1))):
            shares = (made["accuracy"][kind][steps] for made in figures.values())
            label = f"{kind}, steps: {steps}"
            rows.append([label, *(f"{100 * share:.1f} %" for share in shares)])
    return _TEXT.format(
        num_questions=num_questions,
        temperature=temperature,
        models=" | ".join(f"builtin:{name}" for name in figures),
        rules="|".join(["---:"] * len(figures)),
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows),
    )
