"""Phase ``teacher``: get rationales for every training question, and judge them.

Questions stream through, some at a time: what is in memory of all of them is a few bytes each.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.inference.missing import OnRows
from kpod_ray.records import USED_VERDICTS, Question, Rationale
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.teacher import kinds
from kpod_ray.teacher.corpus import teacher_samples
from kpod_ray.teacher.filtering import FilterResult, filter_samples, unknown
from kpod_ray.teacher.samples import Corpus, Sample
from kpod_ray.teacher.sampling import training_batches


def generate_rationales(
    config: RunConfig, questions: Artifact, artifact: Artifact, on_rows: OnRows
) -> Manifest:
    """Write three tables: what goes on, and what doesn't.

    ``rationales`` are those that go on, ``questions`` theirs (one for each, under the same id), and
    ``rejects`` all other rationales.

    Raises:
        KpodError: The teacher can't be used, or no rationale is left.
    """
    corpus = teacher_samples(config, questions, artifact, on_rows)
    verdicts, counts = write_filtered(config, corpus, questions, artifact)
    if not any(verdicts[name] for name in USED_VERDICTS):
        raise KpodError(
            f"no rationale is left to train on: {dict(verdicts)}; use a stronger teacher, more "
            "samples, or teacher.fallback=reference where the questions carry their own rationales"
        )
    details = {"teacher": corpus.teacher, **corpus.details}
    counts.update(details.pop("counts", {}))
    cost = kinds.cost(config.teacher, counts["prompt_tokens"], counts["tokens"])
    if cost is not None:
        details["cost"] = cost
    return {**details, "counts": dict(counts), "verdicts": dict(sorted(verdicts.items()))}


def _judged(
    config: RunConfig, question: Question, samples: list[Sample], name: str
) -> FilterResult:
    split = config.steps.split_newlines
    return filter_samples(question, samples, config.teacher, name, split_newlines=split)


def write_filtered(
    config: RunConfig, corpus: Corpus, questions: Artifact, artifact: Artifact
) -> tuple[Counter[str], Counter[str]]:
    """Judge all samples, question by question; return how many rows have each verdict, and counts."""
    verdicts, counts, first = Counter[str](), Counter[str](), 0
    with contextlib.ExitStack() as stack:
        schemas = {"rationales": Rationale.schema, "rejects": Rationale.schema}
        writers = {
            name: stack.enter_context(artifact.writer(name, schema))
            for name, schema in {**schemas, "questions": Question.schema}.items()
        }
        for batch in training_batches(questions):
            samples_of_batch = corpus.samples_of(batch, first)
            first += len(batch)
            result = [
                _judged(config, question, samples, corpus.teacher)
                for question, samples in zip(batch, samples_of_batch, strict=True)
            ]
            rows = [row for of_question in result for row in of_question.rows]
            used, rejects = _split(rows)
            writers["rationales"].write_table(Rationale.to_table(used))
            writers["rejects"].write_table(Rationale.to_table(rejects))
            writers["questions"].write_table(
                Question.to_table(q for j in result for q in j.questions)
            )
            verdicts.update(row.verdict for row in rows)
            counts.update(
                questions=len(batch),
                samples=sum(len(samples) for samples in samples_of_batch),
                tokens=sum(row.num_tokens for row in rows),
                prompt_tokens=sum(
                    s.num_prompt_tokens for of_one in samples_of_batch for s in of_one
                ),
                questions_without_rationale=sum(not j.questions for j in result),
            )
        strangers = [unknown(sample, corpus.teacher) for sample in corpus.others()]
        writers["rejects"].write_table(Rationale.to_table(strangers))
        verdicts.update(row.verdict for row in strangers)
        counts.update(samples=len(strangers))
    if verdicts.total() - verdicts["reference"] != counts["samples"]:
        raise RuntimeError(f"{counts['samples']} samples, but verdicts {dict(verdicts)}")
    return verdicts, counts


def _split(rows: Iterable[Rationale]) -> tuple[list[Rationale], list[Rationale]]:
    """Return the rows that go on, and the others."""
    used, rejects = list[Rationale](), list[Rationale]()
    for row in rows:
        (used if row.verdict in USED_VERDICTS else rejects).append(row)
    return used, rejects
