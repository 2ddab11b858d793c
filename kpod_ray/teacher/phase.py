"""Phase ``teacher``: get rationales for every training question, and judge them.

Questions stream through, some at a time: what is in memory of all of them is a few bytes each.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from kpod_ray.cluster.placement import described
from kpod_ray.config import EndpointTeacher, FileTeacher, GeneratingTeacher, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.inference.costs import cost
from kpod_ray.inference.generate import OnRows
from kpod_ray.records import USED_VERDICTS, Question, Rationale
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.teacher.filtering import FilterResult, filter_samples, unknown
from kpod_ray.teacher.samples import Sample, read_samples
from kpod_ray.teacher.sampling import SampleIndex, ask, sampling_plan, training_batches


@dataclasses.dataclass(frozen=True)
class Corpus:
    """All samples of a teacher, found by their questions."""

    teacher: str
    """Name written into the rows."""
    samples_of: Callable[[list[Question], int], list[list[Sample]]]
    """Returns the samples of some training questions, given the position of the first."""
    others: Callable[[], Iterable[Sample]] = list
    """Samples that belong to no training question; called after all questions."""
    details: Manifest = dataclasses.field(default_factory=dict)
    """What the manifest says of the generation."""


def generate_rationales(
    config: RunConfig, questions: Artifact, artifact: Artifact, on_rows: OnRows
) -> Manifest:
    """Write three tables: what goes on, and what doesn't.

    ``rationales`` are those that go on, ``questions`` theirs (one for each, under the same id), and
    ``rejects`` all other rationales.

    Raises:
        KpodError: The teacher can't be used, or no rationale is left.
    """
    teacher = config.teacher
    if isinstance(teacher, GeneratingTeacher):
        corpus = _generated(config, teacher, questions, artifact, on_rows)
    elif isinstance(teacher, FileTeacher):
        corpus = _from_file(teacher)
    else:
        corpus = Corpus(teacher.kind, lambda batch, first: [[] for _ in batch])
    verdicts, counts = write_filtered(config, corpus, questions, artifact)
    if not any(verdicts[name] for name in USED_VERDICTS):
        raise KpodError(
            f"no rationale is left to train on: {dict(verdicts)}; use a stronger teacher, more "
            "samples, or teacher.fallback=reference where the questions carry their own rationales"
        )
    details = {"teacher": corpus.teacher, **corpus.details}
    counts.update(details.pop("counts", {}))
    if isinstance(teacher, EndpointTeacher):
        details["cost"] = cost(counts["prompt_tokens"], counts["tokens"], teacher.price)
    return {**details, "counts": dict(counts), "verdicts": dict(sorted(verdicts.items()))}


def _generated(
    config: RunConfig,
    teacher: GeneratingTeacher,
    questions: Artifact,
    artifact: Artifact,
    on_rows: OnRows,
) -> Corpus:
    plan = sampling_plan(config, teacher, questions, artifact, on_rows)

    def is_solved(question: Question, samples: list[Sample]) -> bool:
        """Whether a sample of the question goes on."""
        rows = _judged(config, question, samples, teacher.model).rows
        return any(row.verdict == "kept" for row in rows)

    index: SampleIndex = ask(plan, questions, is_solved)
    details: Manifest = {
        "completions": plan.folder,
        "nodes": described(index.nodes),
        "counts": {"generated": index.num_generated, "rounds": int(index.num_rounds.max())},
    }
    return Corpus(teacher.model, index.samples, details=details)


def _from_file(teacher: FileTeacher) -> Corpus:
    by_question = defaultdict[str, list[Sample]](list)
    for sample in read_samples(teacher):
        by_question[sample.question_id].append(sample)

    def samples_of(batch: list[Question], first: int) -> list[list[Sample]]:
        """Return the samples of some questions, each once."""
        return [by_question.pop(question.id, []) for question in batch]

    def others() -> Iterable[Sample]:
        """Return the samples that no question has taken."""
        return [sample for samples in by_question.values() for sample in samples]

    return Corpus(teacher.name or Path(teacher.path).stem, samples_of, others)


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
