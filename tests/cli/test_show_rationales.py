"""A look at the corpus in the terminal: true counts, the right samples, and nothing but text."""

import io
import re
from collections import Counter

import pytest

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.cli.corpus_summary import Selection, collect_corpus
from kpod_ray.cli.show_rationales import print_rationales
from kpod_ray.cli.terminal import Terminal
from kpod_ray.errors import KpodError
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

HOSTILE = (
    "[bold red]x[/bold red] [/] :smile: \x1b[31m\x07 \u202eevil\u2066 [link=http://x]y[/link]\r"
)
SHOWN = "[bold red]x[/bold red] [/] :smile: \u241b[31m\u2407 [U+202E]evil[U+2066] [link=http://x]y[/link]"


def question(name, answer="7", text="How many?"):
    return Question(name, text, answer, "number", (), "train", "")


QUESTIONS = [question(f"q{i}", text=f"What is {i} + 1?", answer=str(i + 1)) for i in range(6)]
COPY = question("q0#2", text="What is 0 + 1?", answer="1")
AGREED = question("q5", text="What is 5 + 1?", answer="6")  # its gold answer is the samples'
ROWS = [
    Rationale("q0/0", "q0", 0, "Nought and 1 is 1.", "t", "stop", 8, "1", "kept", -2.25),
    Rationale("q0/1", "q0", 1, "It may be 3.", "t", "stop", 5, "3", "wrong"),
    Rationale("q0/2", "q0#2", 2, "One more than nought is 1.", "t", "stop", 7, "1", "kept"),
    Rationale("q1/0", "q1", 0, "One and one", "t", "length", 4, "", "truncated"),
    Rationale("q1/1", "q1", 1, HOSTILE, "t", "", 0, "", "unreadable"),
    Rationale("q2/0", "q2", 0, "2 and 1 are 4.", "t", "stop", 6, "4", "wrong"),
    Rationale(
        "q3/reference", "q3", -1, "Three and 1 is 4.", "reference", "stop", 0, "4", "reference"
    ),
    Rationale("q5/0", "q5", 0, "Five and 1 is 6.", "t", "stop", 6, "6", "kept"),
    Rationale("zz/0", "zz", 0, "A stray text.", "t", "stop", 3, "", "unknown_question"),
]
USED = [row for row in ROWS if row.verdict in ("kept", "reference")]


def weighted(row):
    spans = [match.span() for match in re.finditer(r"\S+", row.text)]
    weights = [(at + 1) / len(spans) for at in range(len(spans))]
    steps = split_steps(row.text, split_newlines=True)
    return WeightedRationale(
        row.question_id, row.text, *zip(*spans, strict=True), weights, *zip(*steps, strict=True)
    )


@pytest.fixture
def artifacts(tmp_path):
    return written(Store.open(str(tmp_path / "store")), ROWS)


def written(store, rows):
    made = {name: Artifact.of(store, name, 1, {}, []) for name in ("questions", "teacher", "weigh")}
    made["questions"].write("questions", Question.to_table([*QUESTIONS[:5], question("q5", "")]))
    made["questions"].finish({})
    used = [row for row in rows if row.verdict in ("kept", "reference")]
    made["teacher"].write("rationales", Rationale.to_table(used))
    made["teacher"].write("rejects", Rationale.to_table(r for r in rows if r not in used))
    of_used = [QUESTIONS[0], COPY, QUESTIONS[3], AGREED]
    made["teacher"].write("questions", Question.to_table(of_used))
    counts = {"questions": 6, "samples": 8, "tokens": 39, "questions_without_rationale": 3}
    verdicts = dict(Counter(row.verdict for row in rows))
    made["teacher"].finish({"teacher": "t-7b", "counts": counts, "verdicts": verdicts})
    made["weigh"].write("weighted", WeightedRationale.to_table(weighted(row) for row in used))
    return made


def printed(artifacts, selection=None, *, terminal=False):
    out = io.StringIO()
    colours = "truecolor" if terminal else "auto"
    console = Terminal(file=out, force_terminal=terminal, width=60, color_system=colours)
    print_rationales(artifacts, selection or Selection(), console)
    return out.getvalue()


def test_counts_in_and_out_add_up(artifacts):
    text = printed(artifacts, Selection(num_samples=0))
    rows = {cells[0]: cells[1:] for line in text.splitlines() if (cells := line.split())}
    assert "teacher t-7b: 8 samples with 39 tokens" in text
    assert "questions 6: 3 have a rationale to train on" in text
    assert "kept 3 of 8 samples" in text
    assert rows["kept"] == ["3", "33.3%", "correct,", "and", "used", "for", "training"]  # of 9
    names = ("kept", "reference", "wrong", "truncated", "unreadable", "unknown_question")
    in_table = {name: int(rows[name][0]) for name in names if name != "kept"}
    assert in_table == {
        "reference": 1,
        "wrong": 2,
        "truncated": 1,
        "unreadable": 1,
        "unknown_question": 1,
    }
    assert rows["total"] == ["9", "=", "8", "samples", "+", "1", "references"]
    assert "shown" not in text


def test_a_phase_that_failed_shows_the_same_samples(artifacts, tmp_path):
    made = written(Store.open(str(tmp_path / "other")), ROWS)
    made["teacher"].store.delete(f"{made['teacher'].folder}/manifest.json")
    assert made["teacher"].has("rejects")
    lines, expected = (printed(a).splitlines() for a in (made, artifacts))
    assert lines[0].startswith("teacher t (the phase isn't finished): 8 samples with")
    assert lines[1] == expected[1]
    assert sorted(lines[2:]) == sorted(expected[2:])
    made["teacher"].store.delete(made["teacher"].folder)
    assert not made["teacher"].has("rejects")


def test_samples_of_each_verdict_come_with_question_answers_and_reason(artifacts):
    text = printed(artifacts)
    for verdict, count in Counter(row.verdict for row in ROWS).items():
        assert f"{verdict}: {count} shown of {count}" in text
    assert text.index("kept: 3") < text.index("wrong: 2")
    about = "question q0, sample 0, finish reason stop, 8 tokens, log-probability -2.25"
    block = [about, "What is 0 + 1?", "gold answer 1, extracted 1", "Nought and 1 is 1."]
    assert "\n".join(block) in text
    block = ["question q1, sample 0, finish reason length, 4 tokens", "What is 1 + 1?"]
    assert "\n".join([*block, "gold answer 2, extracted none", "One and one"]) in text
    assert "(belongs to no question)\ngold answer none, extracted none\nA stray text." in text


def test_an_answer_that_the_samples_agreed_on_is_the_gold_answer(artifacts):
    assert "What is 5 + 1?\ngold answer 6, extracted 6" in printed(artifacts)


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(), [row.id for row in [*USED, *[r for r in ROWS if r not in USED]]]),
        (Selection(num_samples=1), ["q0/0", "q3/reference", "q0/1", "q1/0", "q1/1", "zz/0"]),
        (Selection("wrong"), ["q0/1", "q2/0"]),
        (Selection("wrong", num_samples=1), ["q0/1"]),
        (Selection("kept"), ["q0/0", "q0/2", "q5/0"]),
        (Selection("reference"), ["q3/reference"]),
        (Selection(question_id="q0"), ["q0/0", "q0/2", "q0/1"]),
        (Selection(question_id="q0#2"), ["q0/2"]),
        (Selection("wrong", "q2"), ["q2/0"]),
        (Selection("duplicate"), []),
    ],
)
def test_a_selection_chooses_the_first_rows_that_fit(artifacts, selection, ids):
    samples = collect_corpus(artifacts, selection).samples
    groups = [sample.rationale for group in samples.values() for sample in group]
    assert sorted(row.id for row in groups) == sorted(ids)
    for verdict, group in samples.items():
        assert {sample.rationale.verdict for sample in group} == {verdict}
        assert len(group) <= selection.num_samples
        order = [ROWS.index(sample.rationale) for sample in group]
        assert order == sorted(order)


def test_hostile_text_is_shown_as_text(artifacts):
    for terminal in (False, True):
        text = printed(artifacts, Selection("unreadable"), terminal=terminal)
        assert SHOWN in text
        assert "\x07" not in text
        assert "\u202e" not in text
        assert "\x1b[31m" not in text


def test_a_hostile_kept_text_is_shown_as_text(tmp_path):
    row = Rationale("q0/0", "q0", 0, HOSTILE, HOSTILE, HOSTILE, 8, HOSTILE, "kept")
    made = written(Store.open(str(tmp_path / "store")), [row])
    made["weigh"].finish({})
    text = printed(made, terminal=True)
    plain = re.sub("\x1b\\[[0-9;]*m", "", text)
    assert SHOWN in plain
    assert not set(plain) & set("\x1b\x07\u202e\u2066\r")


def test_text_in_a_file_is_plain_and_whole(artifacts):
    artifacts["weigh"].finish({})
    text = printed(artifacts)
    assert "\x1b" not in text
    assert "One more than nought is 1.\n" in text
    about = "question q0, sample 0, finish reason stop, 8 tokens, log-probability -2.25\n"
    assert about in text  # not cut at the console's 60 columns


def test_weights_are_shades_once_they_are_there(artifacts):
    before = printed(artifacts, Selection("kept"), terminal=True)
    assert "48;2;" not in before
    assert "token weights" not in before
    artifacts["weigh"].finish({})
    after = printed(artifacts, Selection("kept", "q5"), terminal=True)
    assert "token weights shown from 0 (pale) to 1 (strong)" in after
    shades = re.findall("48;2;([0-9]+);([0-9]+);([0-9]+)m([^\x1b]+)", after)
    assert [word for *_, word in shades] == ["Five", "and", "1", "is", "6."]
    blues = [int(blue) for _, _, blue, _ in shades]
    assert blues == sorted(blues, reverse=True)
    assert (blues[0], blues[-1]) == (179, 0)  # weights 0.2 and 1: 224 (1 - 0.2)


def test_only_rationales_that_go_on_are_shaded(artifacts):
    artifacts["weigh"].finish({})
    assert "48;2;" not in printed(artifacts, Selection("wrong"), terminal=True)


def test_an_unknown_verdict_is_refused_with_those_there_are():
    with pytest.raises(KpodError, match="unknown verdict 'rong'; there are kept, reference"):
        Selection("rong")


@pytest.mark.parametrize(("verdict", "name"), [(None, "q9"), ("kept", "q2")])
def test_a_question_without_such_a_rationale_is_named(artifacts, verdict, name):
    with pytest.raises(KpodError, match=f"question '{name}' has no such rationale"):
        printed(artifacts, Selection(verdict, name))
