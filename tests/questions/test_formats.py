"""The same six questions in every format give the same table of questions."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.errors import KpodError
from kpod_ray.questions.loading import load_questions
from tests.questions.question_files import source

SIX = [
    ("Ann has 3 eggs, buys 4.\nHow many?", "3 + 4 = 7.", "7"),
    ("What do 5 pens of $2 cost?", "5 * 2 = 10, in dollars.", "10"),
    ("Of 9 cups 2 break, \u201chow many\u201d are left?", "9 - 2 = 7.", "7"),
    ("4 cars with 4 wheels each, how many wheels?", "4 * 4 = 16.", "16"),
    ("Half of 1, in decimals?", "1 / 2 = 0.5.", "0.5"),
    ("What is 1,000 times 3?", "1000 * 3 = 3000.", "3000"),
]
"""Question, rationale and gold answer."""


def plain(question="question", answer="answer", rationale="rationale"):
    return [{question: q, rationale: r, answer: a} for q, r, a in SIX]


def gsm8k(question, answer):
    return [{question: q, answer: f"{r}\n#### {a}"} for q, r, a in SIX]


def chat(name, role, content, roles):
    asked, replied = roles
    return [
        {name: [{role: asked, content: q}, {role: replied, content: f"{r}\n#### {a}"}]}
        for q, r, a in SIX
    ]


def numbers():
    """The answers as numbers, in rows whose keys are in another order."""
    return [{"answer": float(a), "rationale": r, "question": q} for q, r, a in SIX]


TABLES = {
    "plain": plain(),
    "numbers": numbers(),
    "capitals": plain("Question", "Answer", "Rationale"),
    "problem and solution": plain("problem", "answer", "solution"),
    "prompt and target": plain("prompt", "target", "response"),
    "final answer": plain("problem", "final_answer", "reasoning"),
    "alpaca": [
        {"instruction": q.split(", ")[0], "input": "", "output": f"{r}\n#### {a}", "rest": q}
        for q, r, a in SIX
    ],
    "gsm8k": gsm8k("question", "answer"),
    "query and response": gsm8k("query", "response"),
    "input and target": gsm8k("input", "target"),
    "messages": chat("messages", "role", "content", ("user", "assistant")),
    "sharegpt": chat("conversations", "from", "value", ("human", "gpt")),
}
for row in TABLES["alpaca"]:
    row["instruction"] = row.pop("rest")


def write(path, rows):
    """Write rows in the format of the ending."""
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(
                stream, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t"
            )
            writer.writeheader()
            for row in rows:
                writer.writerow(
                    {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
                )
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def found(path, **settings):
    return load_questions(source(path, **settings), 0).questions


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("table", TABLES)
def test_every_format_gives_the_same_questions(tmp_path, table, ending):
    expected = found(write(tmp_path / "expected.jsonl", TABLES["plain"]))
    assert [(q.question, q.reference_rationale, q.answer, q.kind) for q in expected] == [
        (q, r, a, "number") for q, r, a in SIX
    ]
    assert found(write(tmp_path / f"q.{ending}", TABLES[table])) == expected


def test_an_instruction_and_its_input_are_one_question(tmp_path):
    rows = [{"instruction": "Add.", "input": "2 and 3", "output": "\\boxed{5}"}]
    (question,) = found(write(tmp_path / "q.json", rows))
    assert (question.question, question.answer) == ("Add.\n\n2 and 3", "5")


def test_a_conversation_beside_an_answer_is_the_rationale(tmp_path):
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
        {"role": "assistant", "content": "2 + 2 = 4.", "reasoning_content": "Let me add."},
    ]
    (question,) = found(write(tmp_path / "q.jsonl", [{"messages": turns, "answer": 4}]))
    thoughts = "<think>\nLet me add.\n</think>\n\n2 + 2 = 4."
    assert (question.question, question.answer) == ("2 + 2?", "4")
    assert question.reference_rationale == thoughts


def test_a_prompt_of_turns_is_the_last_turn_of_the_user(tmp_path):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    (question,) = found(write(tmp_path / "q.jsonl", [{"prompt": turns, "answer": 4}]))
    assert question.question == "2 + 2?"


def test_the_settings_name_is_taken_before_other_names(tmp_path):
    rows = [{"prompt": "-", "question": "2 + 2?", "answer": 4, "output": "-", "solution": "-"}]
    columns = {"rationale": "output"}
    (question,) = found(write(tmp_path / "q.jsonl", rows), columns=columns)
    assert (question.question, question.answer, question.reference_rationale) == (
        "2 + 2?",
        "4",
        "-",
    )


@pytest.mark.parametrize(
    ("row", "names", "setting"),
    [
        ({"problem": "?", "prompt": "?", "answer": 1}, "'problem' and 'prompt'", "question"),
        ({"question": "?", "output": "1", "response": "1"}, "'output' and 'response'", "answer"),
        ({"question": "?", "target": "1", "final_answer": "1"}, "'final_answer' and", "answer"),
        ({"question": "?", "answer": 1, "output": "", "solution": ""}, "'solution'", "rationale"),
        ({"conversations": [], "conversation": []}, "'conversations' and", "messages"),
    ],
)
def test_two_columns_for_one_thing_are_an_error_with_the_setting(tmp_path, row, names, setting):
    path = write(tmp_path / "q.jsonl", [row])
    with pytest.raises(KpodError, match=f"{names}.* set questions.columns.{setting} to one") as e:
        found(path)
    assert "\n" not in str(e.value)


def test_a_table_without_a_question_is_an_error_with_its_columns(tmp_path):
    path = write(tmp_path / "q.csv", [{"text": "?", "label": 1}])
    with pytest.raises(
        KpodError, match=r"\(there are text, label\); set questions\.columns\.question"
    ):
        found(path)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ("text", "must be a list of turns, not text"),
        (5, "must be a list of turns, not int"),
        (None, "'messages' is missing"),
        ([], "holds no turn of a user"),
        ([{"role": "assistant", "content": "4"}], "holds no turn of a user"),
        (["2 + 2?"], "a turn without role and content"),
        ([{"role": "user"}], "'question' is missing|is empty"),
        ([{"role": "user", "content": 5}], "'content' must be text, not int"),
        ([{"role": "user", "content": [{"type": "image"}]}], "a part of a turn that isn't text"),
        ([{"role": None, "content": "?"}], "a turn without role and content"),
    ],
)
def test_a_broken_conversation_is_a_bad_row(tmp_path, turns, reason):
    rows = [{"messages": turns, "answer": 4, "id": 1}]
    with pytest.raises(KpodError, match=f"line 1: field .*({reason})"):
        found(write(tmp_path / "q.jsonl", rows))


def test_rows_of_mixed_forms_are_bad_rows_but_for_the_form_of_the_table(tmp_path):
    rows = [*TABLES["plain"], TABLES["messages"][0], {"prompt": "2 + 2?", "answer": 4}]
    loaded = load_questions(source(write(tmp_path / "q.jsonl", rows), max_bad_fraction=0.5), 0)
    assert len(loaded.questions) == 6
    assert [(bad.line, bad.reason) for bad in loaded.bad_rows] == [
        (7, "field 'question' is missing"),
        (8, "field 'question' is missing"),
    ]


def test_choices_of_a_csv_file_are_json(tmp_path):
    rows = [{"question": "Which?", "choices": '["cat", "dog"]', "answer": "B"}]
    (question,) = found(write(tmp_path / "q.csv", rows))
    assert (question.answer, question.choices) == ("B", ("cat", "dog"))
