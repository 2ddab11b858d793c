"""Phase weigh where nothing is learned: what each kind of weights writes, and what determines it."""

import dataclasses
import json

import pyarrow as pa
import pytest

from kpod_ray.config import FileWeighting, HandWeighting, LearnedWeighting, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.random_models import byte_tokenizer
from kpod_ray.models.sources import model_hash
from kpod_ray.records import Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.weighting.content import content_hash, model_names
from kpod_ray.weighting.given_weights import unweighted
from kpod_ray.weighting.hand_weights import hand_weighted
from kpod_ray.weighting.learned_weights import ranked
from kpod_ray.weighting.phase import write_token_weights
from tests.json_lines import write_lines

TEXTS = ["He has 3 eggs\n3 + 4 = 7.", "7 is 7."]
RATIONALES = [
    Rationale(f"q{i}/0", f"q{i}", 0, text, "t", "stop", 9, "7", "kept")
    for i, text in enumerate(TEXTS)
]
ROW = {"id": "q0", "rationale": TEXTS[0], "weights": [[7, 8, 0.5]]}
OTHERS = [{"id": "q1", "rationale": TEXTS[1], "weights": []}, {"id": "z"}]


def weigh(tmp_path, weighting, split_newlines=True):
    """Run the phase; return its rows, its manifest and its history."""
    store = Store.open(str(tmp_path / "storage"))
    config = RunConfig.model_validate(
        {
            "name": "t",
            "storage": store.root,
            "teacher": {"kind": "reference"},
            "steps": {"split_newlines": split_newlines},
            "weighting": weighting,
            "student": {"model": "tiny:0"},
        }
    )
    taught, artifact = (Artifact.of(store, phase, 1, {}, []) for phase in ("teacher", "weigh"))
    taught.write("rationales", Rationale.to_table(RATIONALES))
    manifest = write_token_weights(config, taught, artifact, lambda metrics: None)
    rows = WeightedRationale.from_table(artifact.read("weighted"))
    history = json.loads(store.read_text(f"{artifact.folder}/history.json"))
    return rows, manifest, history


def test_the_ranks_of_weights_are_those_of_the_corpus():
    # Raw weights .9, .1 and .3, .3: ranks 4, 1 and 2.5, 2.5; quantiles 7/8, 1/8 and 1/2, twice.
    rows = [
        WeightedRationale("a", "b c", (0, 2), (1, 3), (0.9, 0.1), (0,), (3,)),
        WeightedRationale("b", "", (), (), (), (), ()),
        WeightedRationale("c", "d e", (0, 2), (1, 3), (0.3, 0.3), (0,), (3,)),
    ]
    table = WeightedRationale.to_table(rows)
    for given in (table, pa.concat_tables([table.slice(0, 1), table.slice(1)])):
        found = ranked(given, 0.2)
        assert found.schema == table.schema
        read = WeightedRationale.from_table(found)
        weights = [row.token_weights for row in read]
        assert weights == [pytest.approx((0.9, 0.3)), (), pytest.approx((0.6, 0.6))]
        same = [dataclasses.replace(row, token_weights=()) for row in read]
        assert same == [dataclasses.replace(row, token_weights=()) for row in rows]


def as_read(rows):
    return WeightedRationale.from_table(WeightedRationale.to_table(rows))


@pytest.mark.parametrize("split_newlines", [True, False])
def test_hand_weights_are_those_of_the_students_tokens(tmp_path, split_newlines):
    weighting = {"kind": "hand", "plain_weight": 0.1}
    rows, manifest, history = weigh(tmp_path, weighting, split_newlines)
    tokenizer = byte_tokenizer()  # that of tiny students
    assert rows == as_read(
        hand_weighted(row, tokenizer, 0.1, split_newlines=split_newlines) for row in RATIONALES
    )
    assert len(rows[0].step_starts) == (2 if split_newlines else 1)
    assert (manifest, history) == ({"counts": {"rationales": 2}}, [])


def test_without_a_weighting_all_tokens_weigh_1(tmp_path):
    rows, manifest, history = weigh(tmp_path, None)
    assert rows == as_read(unweighted(row, split_newlines=True) for row in RATIONALES)
    assert (manifest, history) == ({"counts": {"rationales": 2}}, [])


def write_weights(tmp_path, *rows):
    return write_lines(tmp_path / "weights.jsonl", rows)


def test_weights_of_a_file_are_read_and_other_rows_are_counted(tmp_path):
    path = write_weights(tmp_path, ROW, *OTHERS)
    rows, manifest, history = weigh(tmp_path, {"kind": "file", "path": path})
    assert rows[0].token_weights == (1.0, 0.5, 1.0)
    assert rows[1].token_weights == (1.0,)
    assert (manifest, history) == ({"counts": {"rationales": 2, "unused_rows": 1}}, [])


def test_a_file_without_a_rationale_is_refused(tmp_path):
    path = write_weights(tmp_path, ROW)
    with pytest.raises(KpodError, match=r"no row for question 'q1'"):
        weigh(tmp_path, {"kind": "file", "path": path})


def test_a_hash_holds_the_bytes_of_a_file_and_the_predictor_and_nothing_else(tmp_path):
    path = write_weights(tmp_path, ROW)
    first = content_hash(FileWeighting(kind="file", path=path))
    assert first == content_hash(FileWeighting(kind="file", path=path, default_weight=0.5))
    write_weights(tmp_path, ROW, *OTHERS)
    assert content_hash(FileWeighting(kind="file", path=path)) != first
    assert content_hash(LearnedWeighting(predictor="tiny:1")) == model_hash("tiny:1")
    others = (None, LearnedWeighting(), HandWeighting(kind="hand"))
    assert [content_hash(weighting) for weighting in others] == [""] * 3


def test_a_hash_of_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        content_hash(FileWeighting(kind="file", path=str(tmp_path / "nowhere.jsonl")))


def test_only_a_predictor_is_a_model_besides_the_student():
    assert model_names(LearnedWeighting(predictor="tiny-t5:1")) == {"tiny-t5:1"}
    others = (None, LearnedWeighting(), HandWeighting(kind="hand"))
    assert [model_names(weighting) for weighting in others] == [set()] * 3
    assert model_names(FileWeighting(kind="file", path="p")) == set()
