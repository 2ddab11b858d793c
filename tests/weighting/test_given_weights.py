"""Token weights of a file: those of an export come back unchanged, those of a person are checked."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kpod_ray.algorithm.steps import split_steps
from kpod_ray.config import FileWeighting
from kpod_ray.data.corpus import CorpusRow
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.export import kpod_row
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.weighting.given_weights import read_weights, unweighted
from tests.json_lines import write_lines

TEXT = "He has 3 eggs. 3 + 4 = 7."
TEXTS = {
    "a": TEXT,
    "b#2": "Un café coûte 2.50 €.\nDeux coûtent 5 €. \U0001f600 ok.",
    "c": "7 is 7.",
}
WEIGHTS = (0.125, 0.44, 0.9999, 1e-6, 1.0, 0.0)


def rationale(question_id, text):
    return Rationale(f"{question_id}/0", question_id, 0, text, "t", "stop", 9, "7", "kept")


RATIONALES = Rationale.to_table(rationale(name, text) for name, text in TEXTS.items())


def row(**changes):
    return {"id": "a", "rationale": TEXT, "weights": [], **changes}


def read(tmp_path, rows, rationales=None, default_weight=1.0, split_newlines=True):
    path = write_lines(tmp_path / "weights.jsonl", rows)
    settings = FileWeighting(kind="file", path=path, default_weight=default_weight)
    table = Rationale.to_table([rationale("a", TEXT)]) if rationales is None else rationales
    return read_weights(settings, table, split_newlines=split_newlines)


def weighted(tmp_path, *args, **settings):
    return WeightedRationale.from_table(read(tmp_path, *args, **settings).table)


def spans(row):
    return list(zip(row.token_starts, row.token_ends, row.token_weights, strict=True))


def learned(tokenizer):
    """What a weighter would write of the rationales, as it is read from its artifact."""
    rows = []
    for number, (name, text) in enumerate(TEXTS.items()):
        _, starts, ends = encode_with_spans(tokenizer, text)
        weights = [WEIGHTS[(number + at) % len(WEIGHTS)] for at in range(len(starts))]
        steps = split_steps(text, split_newlines=True)
        rows.append(WeightedRationale(name, text, starts, ends, weights, *zip(*steps, strict=True)))
    return WeightedRationale.to_table(rows)


def exported(table):
    for of_row in WeightedRationale.from_table(table):
        name = of_row.question_id
        question = Question(name, "How many?", "7", "number", (), "train", "")
        yield kpod_row(CorpusRow(question, rationale(name, of_row.text), of_row))


def test_exported_weights_come_back_unchanged(tokenizer, tmp_path):
    table = learned(tokenizer)
    back = read(tmp_path, exported(table), RATIONALES, split_newlines=False)
    assert back.table.equals(table)
    assert back.num_unused == 0


def test_rows_may_be_in_any_order_and_others_are_counted(tokenizer, tmp_path):
    table = learned(tokenizer)
    rows = [row(id="z"), *reversed(list(exported(table))), row(id="y", weights="any")]
    back = read(tmp_path, rows, RATIONALES)
    assert back.table.equals(table)
    assert back.num_unused == 2


def test_weights_that_are_all_1_come_back_unchanged(tmp_path):
    rows = [unweighted(r, split_newlines=True) for r in Rationale.from_table(RATIONALES)]
    table = WeightedRationale.to_table(rows)
    assert read(tmp_path, exported(table), RATIONALES).table.equals(table)


def test_parquet_is_read_too(tmp_path):
    path = tmp_path / "weights.parquet"
    pq.write_table(pa.Table.from_pylist([row(weights=[[7.0, 8.0, 0.5]])]), path)
    settings = FileWeighting(kind="file", path=str(path))
    table = Rationale.to_table([rationale("a", TEXT)])
    (back,) = WeightedRationale.from_table(read_weights(settings, table, split_newlines=True).table)
    assert spans(back) == [(0, 7, 1.0), (7, 8, 0.5), (8, 25, 1.0)]


def test_text_outside_the_spans_has_the_default_weight(tmp_path):
    rows = [row(weights=[[3, 6, 0.75], [7, 8, 1], [15, 25, 1.0]])]
    (back,) = weighted(tmp_path, rows, default_weight=0.25)
    assert spans(back) == [
        (0, 3, 0.25),  # "He "
        (3, 6, 0.75),
        (7, 8, 1.0),  # a blank before it is no gap
        (8, 15, 0.25),  # " eggs. "
        (15, 25, 1.0),
    ]


def test_no_span_at_all_gives_the_whole_text_the_default_weight(tmp_path):
    (back,) = weighted(tmp_path, [row()])
    assert spans(back) == [(0, 25, 1.0)]


def test_reasoning_steps_are_the_rows_or_found(tmp_path):
    (found,) = weighted(tmp_path, [row()])
    assert (found.step_starts, found.step_ends) == ((0, 14), (14, 25))
    (given,) = weighted(tmp_path, [row(steps=[[0, 6], [6, 25]])])
    assert (given.step_starts, given.step_ends) == ((0, 6), (6, 25))
    text = "He has 3 eggs\nand 4 more."
    one = Rationale.to_table([rationale("a", text)])
    for split, count in ((True, 2), (False, 1)):
        (back,) = weighted(tmp_path, [row(rationale=text)], one, split_newlines=split)
        assert len(back.step_starts) == count


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": [[0, 26, 0.5]]}, ["[0, 26, 0.5]", "outside the text of 25 characters"]),
        ({"weights": [[-1, 2, 0.5]]}, ["[-1, 2, 0.5]", "outside"]),
        ({"weights": [[5, 2, 0.5]]}, ["[5, 2, 0.5]", "out of order"]),
        ({"weights": [[3, 6, 0.5], [0, 2, 0.5]]}, ["[0, 2, 0.5]", "out of order"]),
        ({"weights": [[0, 2, 1.5]]}, ["[0, 2, 1.5]", "from 0 to 1"]),
        ({"weights": [[0, 2, -0.1]]}, ["[0, 2, -0.1]", "from 0 to 1"]),
        ({"weights": [[0, 2, float("nan")]]}, ["nan", "from 0 to 1"]),
        ({"weights": [[0, 2, float("inf")]]}, ["inf", "from 0 to 1"]),
        ({"weights": [[0, 2, "1"]]}, ["'1'", "from 0 to 1"]),
        ({"weights": [[0, 2, True]]}, ["True", "from 0 to 1"]),
        ({"weights": [[0.5, 2, 1]]}, ["0.5", "position"]),
        ({"weights": [[0, float("inf"), 1]]}, ["inf", "position"]),
        ({"weights": [[False, 2, 1]]}, ["False", "position"]),
        ({"weights": [[0, 2]]}, ["[0, 2]", "[start, end, weight]"]),
        ({"weights": [7]}, ["7", "[start, end, weight]"]),
        ({"weights": ["abc"]}, ["'a'", "position"]),
        ({"weights": None}, ["'weights'", "list"]),
        ({"steps": [[0, 5], [6, 25]]}, ["[6, 25]", "go on"]),
        ({"steps": [[0, 5], [5, 5], [5, 25]]}, ["[5, 5]", "go on"]),
        ({"steps": [[0, 14]]}, ["14", "25"]),
        ({"steps": [[0]]}, ["[0]", "[start, end]"]),
        ({"steps": 3}, ["'steps'", "list"]),
        ({"steps": []}, ["'steps'", "25"]),
        ({"rationale": "He has 3 eggs."}, ["'rationale'", "'a'", "kpod export"]),
        ({"rationale": None}, ["'rationale'", "missing"]),
        ({"id": None}, ["'id'", "missing"]),
    ],
)
def test_a_broken_row_is_named_in_one_line(tmp_path, changes, words):
    with pytest.raises(KpodError) as caught:
        read(tmp_path, [row(id="z"), row(**changes)])
    assert "\n" not in str(caught.value)
    for word in ["weights.jsonl line 2", *words]:
        assert word in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "weights.jsonl"
    path.write_text('{"id": ')
    with pytest.raises(KpodError, match=r"weights\.jsonl line 1: not JSON"):
        read_weights(FileWeighting(kind="file", path=str(path)), RATIONALES, split_newlines=True)


def test_a_question_with_two_rows_is_refused(tmp_path):
    with pytest.raises(KpodError, match=r"line 2: field 'id' is 'a' for the second time"):
        read(tmp_path, [row(), row()])


def test_a_rationale_without_a_row_is_named(tmp_path):
    with pytest.raises(KpodError, match=r"no row for question 'b#2'.*2 of 3") as caught:
        read(tmp_path, [row()], RATIONALES)
    assert "weights.jsonl" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    settings = FileWeighting(kind="file", path=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(KpodError, match=r"nowhere\.jsonl doesn't exist"):
        read_weights(settings, RATIONALES, split_newlines=True)
