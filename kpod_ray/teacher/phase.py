"""Phase ``teacher``: get samples for every training question, filter the samples, write the tables.

Questions are processed as a stream of batches, so that memory holds only a few bytes per question.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from kpod_ray.cluster.placement import described
from kpod_ray.config import EndpointTeacher, FileTeacher, ReferenceTeacher, RunConfig, VllmTeacher
from kpod_ray.data.corpus import table_rows
from kpod_ray.errors import KpodError
from kpod_ray.inference.missing import OnRows
from kpod_ray.records import USED_VERDICTS, Question, Rationale, Record
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.lease import OnWait, leased
from kpod_ray.teacher import kinds
from kpod_ray.teacher.failure import nothing_left
from kpod_ray.teacher.filtering import FilterResult, filter_samples, unknown
from kpod_ray.teacher.kinds import name_of
from kpod_ray.teacher.pools import sampling_plan
from kpod_ray.teacher.rationale_files import read_samples
from kpod_ray.teacher.samples import Corpus, Sample, corpus_of
from kpod_ray.teacher.sampling import SamplingPlan, ask, training_batches

_TABLES: Mapping[str, type[Record]] = {
    "rationales": Rationale,
    "rejects": Rationale,
    "questions": Question,
}
"""Tables of the artifact, and the class of their rows."""


def generate_rationales(
    config: RunConfig, questions: Artifact, artifact: Artifact, on_rows: OnRows, on_wait: OnWait
) -> Manifest:
    """Write the tables ``rationales``, ``questions`` and ``rejects`` of a run's teacher.

    ``rationales`` holds the rationales to train on (verdict ``kept`` or ``reference``). ``questions``
    holds the question of each of these rationales in the same order; its ``id`` is the rationale's
    ``question_id``. ``rejects`` holds all other rationales. Existing tables are replaced; ``artifact``
    isn't marked as finished.

    The arguments are those of `teacher_samples`; Ray must be connected as there.

    Returns:
        The content of the manifest: the teacher's name, counts, and verdicts (verdict -> number of
        rows). For an endpoint also the cost of all samples of training questions, with those of earlier
        calls; for a generating teacher the folder of the completions, relative to the store's root, and
        the nodes on which this call generated samples.

    Raises:
        KpodError: As in `teacher_samples` and `write_filtered`; or no rationale is left to train on, in
            which case the tables are written all the same.
        ray.exceptions.RayError: As in `teacher_samples`.
        OSError: The storage fails.
        ValueError: As in `write_filtered`.
    """
    corpus = teacher_samples(config, questions, artifact, on_rows, on_wait)
    verdicts, counts = write_filtered(config, corpus, questions, artifact)
    if not any(verdicts[name] for name in USED_VERDICTS):
        rejects = table_rows(artifact, "rejects", Rationale)
        asked = itertools.chain.from_iterable(training_batches(questions))
        raise KpodError(nothing_left(config, verdicts, rejects, asked))
    details = {"teacher": corpus.teacher, **corpus.details}
    counts.update(details.pop("counts", {}))
    cost = kinds.cost(config.teacher, counts["prompt_tokens"], counts["tokens"])
    if cost is not None:
        details["cost"] = cost
    return {**details, "counts": dict(counts), "verdicts": dict(sorted(verdicts.items()))}


def teacher_samples(
    config: RunConfig, questions: Artifact, artifact: Artifact, on_rows: OnRows, on_wait: OnWait
) -> Corpus:
    """Return all samples of a run's teacher; generate the missing samples of a generating teacher.

    Ray must be connected if the teacher generates (an endpoint or vLLM). ``questions`` is the finished
    artifact of phase ``questions``, whose training questions are answered. ``artifact`` is the artifact
    of phase ``teacher``, whose folder holds the requests during generation. ``on_rows`` is called with
    the number of samples of the current round that exist, and the number that the round asks for; it is
    never called if no sample of the round is missing. Runs that sample the same teacher share its
    completions also where their filters or questions differ: only one of them generates at a time, and
    ``on_wait`` is called with the process that this one waits for.

    Returns:
        The samples. A corpus of a file returns each sample only once (`corpus_of`). The corpus of the
        reference rationales is empty: `filter_samples` takes them from the questions.

    Raises:
        KpodError: There are too few worked examples, the endpoint doesn't answer, refuses every request
            or could cost too much, the engine dies repeatedly, the file of rationales is broken, or the
            completions can't be written; or, with retry rounds, as in `filter_samples`.
        ray.exceptions.RayError: As in `ask`.
        OSError: The storage fails.
    """
    teacher = config.teacher
    match teacher:
        case VllmTeacher() | EndpointTeacher():
            plan = sampling_plan(config, teacher, questions, artifact, on_rows)
            return _generated(config, plan, questions, on_wait)
        case FileTeacher():
            found = read_samples(teacher, table_rows(questions, "questions", Question))
            warning = found.warning()
            details: Manifest = {"warning": warning} if warning else {}
            return dataclasses.replace(corpus_of(name_of(teacher), found.samples), details=details)
        case ReferenceTeacher():  # the reference rationales come with the questions
            return corpus_of(name_of(teacher), [])


def _generated(
    config: RunConfig, plan: SamplingPlan, questions: Artifact, on_wait: OnWait
) -> Corpus:
    """Return the corpus of a generating teacher, after its missing samples are generated."""
    name = name_of(config.teacher)

    def is_solved(question: Question, samples: list[Sample]) -> bool:
        """Return whether at least one sample of the question passes the filters."""
        result = _filtered(config, question, samples, name)
        return any(row.verdict == "kept" for row in result.rows)

    # The lease is never done: after a wait, another process may have other completions than this needs.
    # Losing it does no harm but that samples are paid for twice: completions are only ever added.
    with leased(plan.artifact.store, plan.folder, lambda: False, on_wait, lambda error: None):
        index = ask(plan, questions, is_solved)
    details: Manifest = {
        "completions": plan.folder,
        "nodes": described(index.nodes),
        "counts": {"generated": index.num_generated, "rounds": int(index.num_rounds.max())},
    }
    return Corpus(name, index.samples, details=details)


def write_filtered(
    config: RunConfig, corpus: Corpus, questions: Artifact, artifact: Artifact
) -> tuple[Counter[str], Counter[str]]:
    """Filter all samples, question by question, and write the three tables of `generate_rationales`.

    The tables appear only after all samples are filtered, each by an atomic write. ``corpus``, the
    result of `teacher_samples` with the same ``questions``, can't be used again if it comes from a file.

    Returns:
        Verdict -> number of rows; and the counts for the manifest: training questions, those of them
        without a rationale to train on, all samples, and the generated and the prompt tokens of the
        samples of training questions.

    Raises:
        KpodError: As in `filter_samples`.
        KeyError: A generated sample of the corpus has no completion.
        ValueError: A text contains an unpaired surrogate, which no table can hold.
    """
    verdicts = Counter[str]()
    counts = Counter[str]()
    first = 0  # position of the batch's first question among the training questions
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(artifact.writer(name, record.schema))
            for name, record in _TABLES.items()
        }
        for batch in training_batches(questions):
            samples_of_batch = corpus.samples_of(batch, first)
            first += len(batch)
            results = [
                _filtered(config, question, samples, corpus.teacher)
                for question, samples in zip(batch, samples_of_batch, strict=True)
            ]
            rows = [row for result in results for row in result.rows]
            used, rejects = _split(rows)
            writers["rationales"].write_table(Rationale.to_table(used))
            writers["rejects"].write_table(Rationale.to_table(rejects))
            writers["questions"].write_table(
                Question.to_table(q for result in results for q in result.questions)
            )
            verdicts.update(row.verdict for row in rows)
            counts.update(_counts(samples_of_batch, results))
        unmatched = [unknown(sample, corpus.teacher) for sample in corpus.others()]
        writers["rejects"].write_table(Rationale.to_table(unmatched))
        verdicts.update(row.verdict for row in unmatched)
        counts.update(samples=len(unmatched))
    # Every sample gets exactly one row; rows of reference rationales belong to no sample.
    if verdicts.total() - verdicts["reference"] != counts["samples"]:
        raise RuntimeError(f"{counts['samples']} samples, but verdicts {dict(verdicts)}")
    return verdicts, counts


def _counts(samples: Sequence[Sequence[Sample]], results: Sequence[FilterResult]) -> dict[str, int]:
    """Return the counts of a batch: for each question its samples and the result of the filters."""
    return {
        "questions": len(results),
        "samples": sum(len(of_question) for of_question in samples),
        "tokens": sum(row.num_tokens for result in results for row in result.rows),
        "prompt_tokens": sum(
            sample.num_prompt_tokens for of_question in samples for sample in of_question
        ),
        "questions_without_rationale": sum(not result.questions for result in results),
    }


def _filtered(
    config: RunConfig, question: Question, samples: list[Sample], teacher: str
) -> FilterResult:
    split = config.steps.split_newlines
    return filter_samples(question, samples, config.teacher, teacher, split_newlines=split)


def _split(rows: Iterable[Rationale]) -> tuple[list[Rationale], list[Rationale]]:
    """Return the rows to train on, and all other rows."""
    used: list[Rationale] = []
    rejects: list[Rationale] = []
    for row in rows:
        (used if row.verdict in USED_VERDICTS else rejects).append(row)
    return used, rejects
