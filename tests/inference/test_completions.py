import numpy as np
import pytest

from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.records import Completion
from kpod_ray.storage.store import Store


def completion(number, reason="stop"):
    return Completion(f"{number:024x}", f"text {number}", reason, number, 2, None)


def test_completions_are_found_over_many_files_in_any_order(tmp_path):
    store, rng = Store.open(str(tmp_path)), np.random.default_rng(0)
    rows = [completion(i) for i in rng.permutation(1000)]
    for number, start in enumerate(range(0, 1000, 7)):
        store.write_table(f"parts/{number}.parquet", Completion.to_table(rows[start : start + 7]))
    index = CompletionIndex(store, "parts")
    wanted = [completion(i) for i in rng.permutation(1000)[:300]]
    assert len(index) == 1000
    assert index.find([row.id for row in wanted]) == wanted
    assert index.has([wanted[0].id, "f" * 24, wanted[1].id]).tolist() == [True, False, True]


def test_an_error_is_as_good_as_missing_and_gives_way_to_a_text(tmp_path):
    store = Store.open(str(tmp_path))
    for name, rows in {
        "a": [completion(1, "error"), completion(2, "error"), completion(3)],
        "b": [completion(1), completion(3, "error")],
    }.items():
        store.write_table(f"parts/{name}.parquet", Completion.to_table(rows))
    index, ids = CompletionIndex(store, "parts"), [completion(i).id for i in (1, 2, 3)]
    assert index.has(ids).tolist() == [True, False, True]
    assert [row.finish_reason for row in index.find(ids)] == ["stop", "error", "stop"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    index = CompletionIndex(Store.open(str(tmp_path)), "parts")
    assert len(index) == 0
    assert index.has(["a"]).tolist() == [False]
    assert index.find([]) == []
    with pytest.raises(KeyError, match="a"):
        index.find(["a"])
