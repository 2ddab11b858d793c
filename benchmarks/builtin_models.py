"""Make ``builtin:teacher`` and ``builtin:student``: ``python -m benchmarks.builtin_models``.

Both are small Llama models, trained from random parameters on the generator's own verbose stories, of
which those for training are reserved: no seed of the generator gives them
(`kpod_ray.questions.arithmetic_verbose.is_reserved`). The teacher learns chains of all lengths to the
end, the student in its last stage only chains of one or two steps.

Each training writes checkpoints to ``--work`` and goes on from them after an interruption; a model that
is finished there isn't trained again. On one machine, the same versions give the same bytes. The models,
and a model card with their accuracy, are written to ``--out``, by default the package's own folder.
``--only NAME`` makes one of the two. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from benchmarks.builtin_card import model_card
from benchmarks.builtin_data import (
    MOST_STEPS,
    Stage,
    padded_rows,
    training_rows,
    unseen_questions,
    verbose_tokenizer,
)
from kpod_ray.answers.extraction import answers_equal, extract_answer
from kpod_ray.data.prompts import encode_prompt
from kpod_ray.models import sources
from kpod_ray.models.generation import generation_inputs
from kpod_ray.records import Question

PACKAGE_FOLDER = Path(str(sources.__file__)).parent / "builtin"
ROWS_AT_ONCE = 8
"""Texts of one forward pass."""
QUESTIONS_AT_ONCE = 50
CHECKPOINT_EVERY = 50
"""Updates between two checkpoints."""
WARM_UP = 100
"""Updates in which the learning rate rises."""
TEMPERATURE = 0.7
"""Sampling temperature of a teacher, as in a config by default."""
NUM_QUESTIONS = 400


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is made."""

    name: str
    stages: tuple[Stage, ...]
    num_falling: int
    """Updates at the end in which the learning rate falls to 0."""
    hidden_size: int = 96
    num_layers: int = 3
    num_heads: int = 3
    """Attention heads, of 32 elements each: the fewest that vLLM takes on a CPU."""
    intermediate_size: int = 256
    learning_rate: float = 3e-3
    batch_steps: int = 64
    """Reasoning steps of an update, over all of its texts."""

    def stage(self, update: int) -> Stage:
        """Return the stage of an update, from 0."""
        return next(stage for stage in self.stages if update < stage.end)

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, from 0: a warm-up, a constant, and a fall to 0."""
        fall = (self.stages[-1].end - update) / self.num_falling
        return self.learning_rate * min(1.0, (update + 1) / WARM_UP, fall)


# Without filler around them, the events of a question are found and calculated several times sooner.
TEACHER = Recipe(
    "teacher", stages=(Stage(500, 3, 0.2), Stage(700, 8, 0.2), Stage(1400, 8, 1)), num_falling=50
)
# Without the second stage, which is long chains, a student learns next to nothing from 300 rationales.
STUDENT = Recipe(
    "student", stages=(Stage(400, 3, 0.2), Stage(600, 8, 0.1), Stage(1000, 2, 1)), num_falling=300
)
RECIPES = (TEACHER, STUDENT)


def new_model(recipe: Recipe, tokenizer: Any) -> LlamaForCausalLM:
    """Return a model with random float32 parameters, the same in every call."""
    set_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.num_layers,
            num_attention_heads=recipe.num_heads,
            num_key_value_heads=recipe.num_heads,
            head_dim=32,
            max_position_embeddings=tokenizer.model_max_length,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(recipe: Recipe, tokenizer: Any, work: Path, end: int) -> LlamaForCausalLM:
    """Train a model up to update ``end``, and return it with float32 parameters.

    The training goes on from the checkpoint in ``work``, if any, and writes checkpoints there. Texts and
    learning rate follow from the number of the update alone, so that an interruption changes nothing.
    """
    model = new_model(recipe, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    checkpoint = work / f"{recipe.name}.pt"
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["num_updates"]
    for update in range(start, end):
        loss = _update(recipe, update, model, optimizer, tokenizer)
        if (update + 1) % CHECKPOINT_EVERY == 0 or update + 1 == end:
            print(f"{recipe.name}: update {update + 1}, loss {loss:.4f}", flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"num_updates": update + 1}, f"{checkpoint}.unfinished")
            os.replace(f"{checkpoint}.unfinished", checkpoint)
    return model


def _update(recipe: Recipe, update: int, model: Any, optimizer: Any, tokenizer: Any) -> float:
    """Make one update, and return the mean loss of a target token in nats."""
    rng = random.Random(f"{recipe.name}/{update}")
    rows = training_rows(tokenizer, rng, recipe.stage(update), recipe.batch_steps)
    num_labels = sum(len(row.target_ids) for row in rows)
    total = 0.0
    for first in range(0, len(rows), ROWS_AT_ONCE):
        ids, labels = padded_rows(rows[first : first + ROWS_AT_ONCE], tokenizer.pad_token_id)
        # No attention mask: padding stands on the right, where no text token attends to it.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        is_label = labels[:, 1:] >= 0
        logits = model.lm_head(hidden[is_label])
        loss = functional.cross_entropy(logits, labels[:, 1:][is_label], reduction="sum")
        (loss / num_labels).backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(update)
    optimizer.step()
    optimizer.zero_grad()
    return total / num_labels


@torch.no_grad()
def answered_right(
    model: Any, tokenizer: Any, questions: Sequence[Question], temperature: float
) -> list[bool]:
    """Return which questions a model answers right; temperature 0 is greedy."""
    set_seed(0)
    model.eval()
    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": temperature, "top_k": 0}
    right = list[bool]()
    for first in range(0, len(questions), QUESTIONS_AT_ONCE):
        asked = questions[first : first + QUESTIONS_AT_ONCE]
        prompts = [encode_prompt(tokenizer, question.question, "plain") for question in asked]
        inputs, num_echoed = generation_inputs(model, tokenizer, prompts)
        output = model.generate(**inputs, max_new_tokens=256, **options)
        texts = tokenizer.batch_decode(output[:, num_echoed:], skip_special_tokens=True)
        answers = [extract_answer(text, "number") for text in texts]
        right += [
            answer is not None and answers_equal(answer, question.answer, "number")
            for answer, question in zip(answers, asked, strict=True)
        ]
    return right


def measure(model: Any, tokenizer: Any, num_questions: int) -> dict[str, Any]:
    """Return a model's accuracy on unseen questions of 2 or more steps, and by number of steps."""
    questions = unseen_questions(num_questions)
    num_steps = [question.reference_rationale.count("=") for question in questions]
    figures = {}
    for name, temperature in (("greedy", 0.0), ("sampled", TEMPERATURE)):
        right = answered_right(model, tokenizer, questions, temperature)
        pairs = list(zip(num_steps, right, strict=True))
        figures[name] = {
            "2 to 8": _share([is_right for steps, is_right in pairs if steps > 1]),
            **{
                str(steps): _share([is_right for s, is_right in pairs if s == steps])
                for steps in range(1, MOST_STEPS + 1)
            },
        }
    return figures


def _share(right: list[bool]) -> float:
    return round(sum(right) / len(right), 3)


def make(recipe: Recipe, work: Path, out: Path, num_questions: int) -> dict[str, Any]:
    """Train a model, write it with bf16 parameters to ``out / recipe.name``, and measure it."""
    start = time.process_time()
    tokenizer = verbose_tokenizer()
    model = train(recipe, tokenizer, work, recipe.stages[-1].end)
    folder = out / recipe.name
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors lets only the owner read, also in an installed package
    return {
        "recipe": dataclasses.asdict(recipe),
        "parameters": model.num_parameters(),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
        # The files are in bf16, but models on a CPU compute in fp32.
        "accuracy": measure(model.float(), tokenizer, num_questions),
        "cpu_seconds": round(time.process_time() - start),
    }


def main() -> None:
    """Make the models, and write the card once the figures of both are there."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=sources.MODEL_CACHE.parent / "builtin")
    parser.add_argument("--out", type=Path, default=PACKAGE_FOLDER)
    parser.add_argument("--only", choices=[recipe.name for recipe in RECIPES])
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        if args.only in (None, recipe.name):
            made = make(recipe, args.work, args.out, NUM_QUESTIONS)
            (args.work / f"{recipe.name}.json").write_text(json.dumps(made))
            print(json.dumps(made), flush=True)
    files = {recipe.name: args.work / f"{recipe.name}.json" for recipe in RECIPES}
    figures = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    if len(figures) == len(RECIPES):
        (args.out / "README.md").write_text(model_card(figures, NUM_QUESTIONS, TEMPERATURE))
    print(json.dumps({"machine": platform.machine(), "torch": torch.__version__, **figures}))


if __name__ == "__main__":
    main()
