"""What a forecast is computed from: questions, rationales and tokenizers, as far as they are there."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from kpod_ray.answers.final_sentence import strip_closing
from kpod_ray.config import FileTeacher, ReferenceTeacher
from kpod_ray.data.corpus import table_rows
from kpod_ray.data.prompts import PromptBuilder, question_text, target_text
from kpod_ray.data.tokens import encode_text
from kpod_ray.errors import KpodError
from kpod_ray.models.tokenizer_alone import load_tokenizer_alone
from kpod_ray.pipeline.forecast.estimates import Amount, scaled_sum, spaced
from kpod_ray.pipeline.naming import Run
from kpod_ray.questions.further import load_further_set, questions_table
from kpod_ray.questions.loading import load_questions
from kpod_ray.questions.splits import in_validation_set
from kpod_ray.records import USED_VERDICTS, Question, Rationale

MOST_ENCODED = 2000
"""Largest number of texts that are tokenised to count the tokens of all."""
_Pair = tuple[Question, str]
"""A question and its rationale."""


class Inputs:
    """The inputs of a run's phases, each read at most once, and only if a forecast needs it.

    Finished artifacts are read first. Nothing is written to the storage; the hub's data sets and
    tokenizers go to the hub's own cache.

    Args:
        run: the run, whose artifacts may be unfinished and whose storage need not exist.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config = run.config
        self.problems: list[str] = []
        """What couldn't be read, each in one line."""
        self.tokenizer = functools.cache(self._tokenizer)

    @functools.cached_property
    def questions(self) -> list[Question] | None:
        """All questions of the run; None if they can't be read."""
        artifact = self.run.artifacts["questions"]
        try:
            if artifact.is_finished():
                return Question.from_table(artifact.read("questions"))
            return load_questions(self.config.questions, self.config.seed).questions
        except KpodError as error:
            self.problems.append(str(error))
            return None

    def of_split(self, split: str) -> list[Question] | None:
        """Return the questions of the split ``train`` or ``test``; None if they can't be read."""
        if self.questions is None:
            return None
        return [question for question in self.questions if question.split == split]

    @functools.cached_property
    def further_sets(self) -> list[list[Question]] | None:
        """The questions of each further test set; None if they can't be read."""
        artifact = self.run.artifacts["questions_also"]
        also = self.config.evaluation.also
        try:
            if artifact.is_finished():
                tables = (artifact.read(questions_table(name)) for name in also)
                return [Question.from_table(table) for table in tables]
            training = self.questions or []
            return [
                load_further_set(name, source, self.config.seed, training).questions
                for name, source in also.items()
            ]
        except KpodError as error:
            self.problems.append(str(error))
            return None

    def prompt_tokens(
        self, model: str, builder: PromptBuilder, texts: Sequence[str]
    ) -> Amount | None:
        """Return the tokens of the prompts of some questions' texts; None without the tokenizer.

        At most `MOST_ENCODED` prompts are tokenised, evenly spaced among all.
        """
        tokenizer = self.tokenizer(model)
        if tokenizer is None:
            return None
        chosen = spaced(len(texts), MOST_ENCODED)
        try:
            lengths = [len(builder.encode(tokenizer, texts[index])) for index in chosen]
        except KpodError as error:  # no chat template, or one that refuses the prompt
            self.problems.append(str(error))
            return None
        return scaled_sum(lengths, len(texts))

    @functools.cached_property
    def rationales(self) -> Amount | None:
        """Number of rationales that the teacher gives; None if the questions can't be read."""
        teacher = self.run.artifacts["teacher"]
        if teacher.is_finished():
            verdicts = teacher.manifest()["verdicts"]
            return Amount(sum(verdicts.get(verdict, 0) for verdict in USED_VERDICTS))
        train = self.of_split("train")
        return None if train is None else self._most_rationales(train)

    @functools.cached_property
    def trained(self) -> Amount | None:
        """Number of rationales that the student is trained on; None if the questions can't be read.

        The number is a bound until phase ``plan`` is finished: some may be longer than
        ``student.max_length``.
        """
        plan = self.run.artifacts["plan"]
        if plan.is_finished():
            return Amount(plan.manifest()["counts"]["questions"])
        if self.run.artifacts["teacher"].is_finished():
            return Amount(len(self._known_pairs), is_bound=True)
        train = self.of_split("train")
        return None if train is None else self._most_rationales(self._trained_on(train)).as_bound()

    def trained_tokens(self) -> Amount | None:
        """Return the tokens of all training examples; None if their number isn't known.

        Without rationales or without a tokenizer, every example has ``student.max_length`` tokens at
        most. At most `MOST_ENCODED` examples are tokenised, evenly spaced among all.
        """
        tokenizer = self.tokenizer(self.config.student.model)
        pairs = self._known_pairs
        if tokenizer is not None and pairs:
            chosen = spaced(len(pairs), MOST_ENCODED)
            return scaled_sum([self._length(tokenizer, pairs[i]) for i in chosen], len(pairs))
        if self.trained is None:
            return None
        return (self.trained * self.config.student.max_length).as_bound()

    def _tokenizer(self, model: str) -> Any | None:
        """Return the tokenizer of a model; None if it can't be loaded, which a check says elsewhere."""
        try:
            return load_tokenizer_alone(model)
        except (KpodError, OSError, ValueError):  # transformers raises all sorts for a model
            return None

    def _most_rationales(self, train: Sequence[Question]) -> Amount:
        """Return how many rationales some training questions have before the teacher has run."""
        teacher = self.config.teacher
        has_own = [bool(_own_rationale(question)) for question in train]
        if isinstance(teacher, ReferenceTeacher):
            return Amount(sum(has_own))
        is_certain = (
            not isinstance(teacher, FileTeacher)
            and teacher.fallback == "reference"
            and teacher.num_kept == 1
            and all(has_own)
        )
        return Amount(len(train) * teacher.num_kept, is_bound=not is_certain)

    @functools.cached_property
    def _known_pairs(self) -> list[_Pair]:
        """The questions and rationales that the student is trained on, if they are there; else []."""
        teacher = self.run.artifacts["teacher"]
        if teacher.is_finished():
            rows = table_rows(teacher, "rationales", Rationale)
            texts = {row.question_id: row.text for row in rows}
            questions = self._trained_on(list(table_rows(teacher, "questions", Question)))
            return [(question, texts[question.id]) for question in questions]
        if isinstance(self.config.teacher, ReferenceTeacher):
            train = self._trained_on(self.of_split("train") or [])
            return [(q, text) for q in train if (text := _own_rationale(q))]
        return []

    def _trained_on(self, questions: Sequence[Question]) -> list[Question]:
        """Return the questions outside the student's validation set."""
        ids = [question.id for question in questions]
        fraction = self.config.student.validation_fraction
        is_held_out = in_validation_set(ids, fraction, self.config.seed)
        return [q for q, is_out in zip(questions, is_held_out, strict=True) if not is_out]

    def _length(self, tokenizer: Any, pair: _Pair) -> int:
        """Return the tokens of a training example; 0 if it is left out because of its length."""
        question, rationale = pair
        student = self.config.student
        text = rationale if student.target == "rationale" else ""
        target = encode_text(tokenizer, target_text(text, question.answer)[0]).ids
        prompt = PromptBuilder(student.template).encode(tokenizer, question_text(question))
        length = len(prompt) + len(target) + 1  # the end-of-sequence token
        if length <= student.max_length:
            return length
        return student.max_length if student.overlength == "cut" else 0


def _own_rationale(question: Question) -> str:
    """Return the reference rationale that phase ``teacher`` would use; empty if there is none."""
    return strip_closing(question.reference_rationale).strip() if question.answer else ""
