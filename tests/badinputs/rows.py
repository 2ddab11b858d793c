"""Files of questions, rationales and token weights with something wrong in them."""

import gzip
import json

from tests.badinputs.cases import Case, jsonl, on

ROWS = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(6)]
GOOD = jsonl(*ROWS)


def questions(content, words, name="questions.jsonl", settings=""):
    """A case whose file of questions has this content."""
    path = f"path: '{{folder}}/{name}'"
    override = f"questions={{source: file, {path}, test_fraction: 0.5{settings}}}"
    command = ("run", "compare", "run")[len(words) % 3]
    return Case("questions", on(command, override), tuple(words), {name: content})


def broken(*rows, at=3):
    return jsonl(*ROWS[: at - 1], *rows, *ROWS[at:])


QUESTIONS = [
    questions("", ["no training question is left of 0"]),
    questions("\n\n \n", ["no training question is left of 0"]),
    questions(b"\x00\x01\x02\xff" * 20, ["line 1"]),
    questions(gzip.compress(GOOD.encode()), ["line 1", "UTF-8"]),
    questions(gzip.compress(GOOD.encode()), ["unknown format '.gz'"], "questions.jsonl.gz"),
    questions(GOOD, ["unknown format '.xlsx'"], "questions.xlsx"),
    questions(GOOD, ["no column is known as the question"], "questions.csv"),
    questions("", ["CSV", "Empty"], "questions.csv"),
    questions("question,answer,answer\nWhy?,1,1\n", ["'answer' is named twice"], "questions.csv"),
    questions("question,answer\nWhy?,1,1\n", ["row 1", "3 values for 2 columns"], "questions.csv"),
    questions("question,answer\ncaf\xe9?,1\n".encode("latin1"), ["UTF-8"], "questions.csv"),
    questions("question,answer\nWhy?,1\n".encode("utf-16"), ["UTF-8"], "questions.csv"),
    questions("", ["JSON", "line 1 column 1"], "questions.json"),
    questions("[1, 2]", ["row 1", "not an object but int"], "questions.json"),
    questions("7", ["no list of objects but int"], "questions.json"),
    questions(json.dumps(ROWS)[:-9], ["JSON", "line 1"], "questions.json"),
    questions(json.dumps(ROWS).encode("utf-16"), ["not UTF-8"], "questions.json"),
    questions(json.dumps({"a": ROWS, "b": ROWS}), ["several lists", "a, b"], "questions.json"),
    questions('{"answer": 1, "question": "Why?", "answer": 2}', ["'answer' is given twice"]),
    questions(
        jsonl({"problem": "Why?", "prompt": "Why?", "answer": 1}), ["'problem' and 'prompt'"]
    ),
    questions(
        jsonl({"question": "Why?", "output": "1", "response": "1"}), ["questions.columns.answer"]
    ),
    questions(jsonl({"messages": [{"role": "system", "content": "a"}]}), ["no turn of a user"]),
    questions(jsonl({"messages": "text"}), ["'messages' must be a list of turns"]),
    questions(GOOD, ["unknown format ''"], "questions"),
    questions(GOOD, ["Parquet"], "questions.parquet"),
    questions(b"PAR1" + b"\x00" * 50 + b"PAR1", ["Parquet"], "questions.parquet"),
    questions(json.dumps(ROWS), ["line 1", "not an object"]),
    questions(json.dumps(ROWS, indent=1), ["line 1"]),
    questions("id,question,answer\nq1,Why?,1\n", ["line 1", "not JSON"]),
    questions(GOOD.encode("utf-16"), ["line 1", "UTF-8"]),
    questions(broken('{"id": "q2", '), ["line 3", "not JSON"]),
    questions(broken("null"), ["line 3", "not an object"]),
    questions(broken('"text"'), ["line 3", "not an object"]),
    questions(broken("[" * 100_000), ["line 3"]),
    questions(broken('{"id": ' + "9" * 5000 + "}"), ["line 3"]),
    questions(broken({"id": "q2", "question": "Why?"}), ["line 3", "'answer' is missing"]),
    questions(broken({"id": "q2", "answer": "1"}), ["line 3", "'question' is missing"]),
    questions(broken({"question": "Why?", "answer": "1"}), ["line 3", "'id' is missing"]),
    questions(broken({**ROWS[2], "question": " "}), ["line 3", "'question' is empty"]),
    questions(broken({**ROWS[2], "question": ["a"]}), ["line 3", "'question' must be text"]),
    questions(broken({**ROWS[2], "question": 3}), ["line 3", "'question' must be text"]),
    questions(broken({**ROWS[2], "id": 1.5}), ["line 3", "'id' must be text"]),
    questions(broken({**ROWS[2], "id": True}), ["line 3", "'id' must be text"]),
    questions(broken({**ROWS[2], "id": {"a": 1}}), ["line 3", "'id'"]),
    questions(broken({**ROWS[2], "answer": [1, 2]}), ["line 3", "'answer'"]),
    questions(broken('{"id": "q2", "question": "Why?", "answer": NaN}'), ["line 3", "'answer'"]),
    questions(
        broken('{"id": "q2", "question": "\\ud800", "answer": "1"}'), ["line 3", "surrogate"]
    ),
    questions(broken({**ROWS[2], "split": "dev"}), ["line 3", "'split'", "'dev'"]),
    questions(broken({**ROWS[2], "choices": "ab"}), ["line 3", "'choices'"]),
    questions(broken({**ROWS[2], "choices": ["a", "b"], "answer": "c"}), ["line 3", "'answer'"]),
    questions(broken({**ROWS[2], "id": "q1"}), ["line 3", "'q1' was already used at line 2"]),
    questions(
        broken({**ROWS[2], "id": "\x1b[31m"}, {**ROWS[2], "id": "\x1b[31m"}), ["line 4", "\\x1b"]
    ),
    questions(("\ufeff" + broken("{").replace("\n", "\r\n")).encode(), ["line 3", "not JSON"]),
    questions(jsonl(*({**row, "split": "test"} for row in ROWS)), ["no training question is left"]),
    questions(
        jsonl({"text": "a"}, {"text": "b"}), ["(there are text)", "questions.columns.question"]
    ),
    questions(GOOD, ["line 1", "'answer'"], settings=", answer_separator: '####'"),
    questions(GOOD, ["line 1", "'gold' is missing"], settings=", columns: {answer: gold}"),
    Case(
        "questions",
        on("run", "questions={source: file, path: '{folder}/questions.jsonl'}"),
        ("no test question",),
        {"questions.jsonl": GOOD},
    ),
]
TEXT = "One and one are two. So it is 2."
RATIONALES = [{"id": f"arith-train-{i:05}", "rationale": TEXT} for i in range(6)]


def rationales(content, words, name="rationales.jsonl", settings=""):
    override = f"teacher={{kind: file, path: '{{folder}}/{name}'{settings}}}"
    command = ("compare", "run", "run")[len(words) % 3]
    return Case("rationales", on(command, override), tuple(words), {name: content})


def weights(content, words, name="weights.jsonl"):
    override = f"weighting={{kind: file, path: '{{folder}}/{name}'}}"
    command = ("run", "run", "compare")[len(words) % 3]
    return Case("weights", on(command, override), tuple(words), {name: content})


def weight_row(**changes):
    row = {"id": "arith-train-00000", "rationale": TEXT, "weights": [[0, 3, 0.5]]}
    return jsonl({**row, **changes})


FILES = [
    rationales("", ["none of the 0 rows"]),
    rationales(b"\xff\xfe\x00", ["line 1", "UTF-8"]),
    rationales(jsonl({"id": "other", "rationale": TEXT}), ["none of the 1 rows", "arith-train-"]),
    rationales(jsonl(RATIONALES[0], "{"), ["line 2", "not JSON"]),
    rationales(jsonl(RATIONALES[0], "[]"), ["line 2", "not an object"]),
    rationales(
        jsonl({"id": "arith-train-00000", "text": TEXT}), ["line 1", "no column 'rationale'"]
    ),
    rationales(jsonl({"rationale": TEXT}), ["line 1", "no column 'id'"]),
    rationales(jsonl(*RATIONALES), ["unknown format '.txt'"], "rationales.txt"),
    rationales(jsonl(*RATIONALES), ["Parquet"], "rationales.parquet"),
    rationales(
        jsonl(*RATIONALES),
        ["no column 'solution'", "teacher.columns.rationale"],
        settings=", columns: {rationale: solution}",
    ),
    weights("", ["no row has the id of a training question"]),
    weights(b"\xff", ["line 1", "UTF-8"]),
    weights("{\n", ["line 1", "not JSON"]),
    weights(jsonl({"weights": []}), ["line 1", "'id' is missing"]),
    weights(weight_row(weights=None), ["line 1", "'weights' must be a list"]),
    weights(weight_row(weights=[[0, 3]]), ["line 1", "no [start, end, weight]"]),
    weights(weight_row(weights=[[0, 3, 2]]), ["line 1", "from 0 to 1"]),
    weights(weight_row(weights=[[0, 3, True]]), ["line 1", "from 0 to 1"]),
    weights(weight_row(weights=[[5, 3, 1]]), ["line 1", "out of order"]),
    weights(weight_row(weights=[[0, 999, 1]]), ["line 1", "outside the text"]),
    weights(weight_row(weights=[["a", 3, 1]]), ["line 1", "no position"]),
    weights(weight_row(rationale=""), ["line 1", "'rationale' is empty"]),
    weights(weight_row(steps=[[0, 3]]), ["line 1", "'steps' ends at 3"]),
    weights(weight_row() * 2, ["line 2", "for the second time"]),
    weights(weight_row(), ["unknown format '.yaml'"], "weights.yaml"),
]


def further_set(content, words, settings=""):
    """A case whose further test set has this content."""
    override = f"evaluation.also.more={{source: file, path: '{{folder}}/more.jsonl'{settings}}}"
    command = ("run", "compare", "run")[len(words) % 3]
    return Case(
        "further set",
        on(command, override),
        ("evaluation.also.more", *words),
        {"more.jsonl": content},
    )


FURTHER_SETS = [
    further_set("", ["no question is left of 0"]),
    further_set(broken({**ROWS[2], "answer": [1, 2]}), ["line 3", "'answer'"]),
    further_set(broken({**ROWS[2], "id": "q1"}), ["line 3", "'q1' was already used"]),
    further_set(GOOD, ["allow_missing_answers"], ", allow_missing_answers: true"),
    further_set(GOOD, ["unknown key", "did you mean evaluation.also.more.limit?"], ", limt: 3"),
    Case(
        "further set",
        on("run", "evaluation.also.more={source: file, path: '{folder}/gone.jsonl'}"),
        ("{folder}/gone.jsonl", "doesn't exist"),
    ),
    Case(
        "further set",
        on("compare", "evaluation.also.More={source: arithmetic}"),
        ("evaluation.also.More", "lower-case letters"),
    ),
    Case(
        "further set",
        on("run", "evaluation.also={a: {source: arithmetic}, a: {source: arithmetic}}"),
        ("'a' is given twice",),
    ),
    Case(
        "further set",
        on(
            "run",
            "questions={source: file, path: '{folder}/q.jsonl', test_fraction: 0.5}",
            "evaluation.also.more={source: file, path: '{folder}/train.jsonl'}",
        ),
        ("evaluation.also.more", "no question is left of 1, of which 1 repeat a training question"),
        {"q.jsonl": GOOD, "train.jsonl": jsonl(ROWS[1])},
    ),
]
CASES = QUESTIONS + FILES + FURTHER_SETS
