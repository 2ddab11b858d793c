"""Questions, samples of a teacher, and the verdicts on them."""

from kpod_ray.config import FileTeacher
from kpod_ray.records import Question
from kpod_ray.teacher.filtering import filter_samples, unknown
from kpod_ray.teacher.samples import Sample

SETTINGS = FileTeacher(kind="file", path="-", filters={"max_chars": 80})
WITH_REFERENCES = FileTeacher(kind="file", path="-", fallback="reference")
REFERENCE = " 2 + 3 = 5 in all. So the answer is 5. "
CHOICES = ["So 2 + 3 = 5 here.", "2 + 3 = 5.", "Now 2 and 3 more are 5 of them, it is 5."]


def question(name="q", answer="5", kind="number", choices=(), reference=""):
    return Question(name, "How many?", answer, kind, choices, "train", reference)


QUESTIONS = {
    q.id: q
    for q in [
        question("number"),
        question("choice", "B", "choice", ("bank", "boat")),
        question("boolean", "yes", "boolean"),
        question("text", "Paris", "text"),
    ]
}
RIGHT, WRONG = "2 + 3 = 5. The answer is 5.", "2 + 3 = 6. The answer is 6."


def sample(text, question_id="number", index=0, finish_reason="stop", teacher_answer=""):
    return Sample(question_id, index, text, finish_reason, 9, teacher_answer)


def result(*samples, questions=QUESTIONS, settings=SETTINGS):
    """Judge samples of several questions; return the rows, by question and sample."""
    rows = [unknown(s, "teacher") for s in samples if s.question_id not in questions]
    for q in questions.values():
        own = [s for s in samples if s.question_id == q.id]
        rows += filter_samples(q, own, settings, "teacher", split_newlines=True).rows
    return sorted(rows, key=lambda row: (row.question_id, row.sample_index))


def verdicts(texts, question=QUESTIONS["number"], logprobs=None, **settings):
    """Judge texts as samples 0, 1, ... of one question."""
    teacher = FileTeacher(kind="file", path="-", **settings)
    samples = [
        Sample(question.id, i, text, "stop", 9, "", logprobs[i] if logprobs else None)
        for i, text in enumerate(texts)
    ]
    found = filter_samples(question, samples, teacher, "teacher", split_newlines=True)
    return [row.verdict for row in found.rows], found
