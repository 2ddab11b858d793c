"""A config file and its bases: which value holds, and which base is refused."""

import pytest

from kpod_ray.config import HandWeighting, LearnedWeighting, load
from kpod_ray.errors import KpodError
from tests.config.minimal import MINIMAL_TEXT


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def test_a_base_holds_where_the_file_sets_nothing(tmp_path):
    top = "base: below.yaml\nstudent: {learning_rate: 0.5}\nschedule: {num_stages: 3}\n"
    path = write(tmp_path, top=top, below=f"{MINIMAL_TEXT}schedule: {{num_stages: 9, growth: 2}}\n")
    config = load(path, ["schedule.growth=3"])
    assert (config.name, config.student.model) == ("a", "tiny:0")
    assert config.student.learning_rate == 0.5
    assert (config.schedule.num_stages, config.schedule.growth) == (3, 3)


def test_of_several_bases_the_later_wins_and_each_is_relative_to_its_file(tmp_path):
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", one="base: deep.yaml\nseed: 1\n", deep="seed: 7\nstorage: /deep\n")
    write(tmp_path / "parts", two="seed: 2\n")
    bases = "base: [parts/one.yaml, parts/two.yaml]\n"
    config = load(write(tmp_path, top=bases + MINIMAL_TEXT))
    assert (config.seed, config.storage) == (2, "/deep")


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ("{num_train_steps: 7}", "{kind: learned, temperature: 1.5}", ("learned", 7, 1.5)),
        ("{kind: learned, num_train_steps: 7}", "{temperature: 1.5}", ("learned", 7, 1.5)),
        ("{num_train_steps: 7}", "{temperature: 1.5}", ("learned", 7, 1.5)),
        (
            "{kind: hand, plain_weight: 0.5}",
            "{kind: learned, temperature: 1.5}",
            ("learned", LearnedWeighting().num_train_steps, 1.5),
        ),
    ],
)
def test_a_weighting_without_a_kind_is_a_learned_one_in_every_layer(
    tmp_path, below, above, expected
):
    student = "student: {model: 'tiny:1'}\nteacher: {kind: reference}\nname: a\n"
    (tmp_path / "below.yaml").write_text(f"{student}weighting: {below}\n")
    (tmp_path / "above.yaml").write_text(f"base: below.yaml\nweighting: {above}\n")
    found = load(tmp_path / "above.yaml").weighting
    assert (found.kind, found.num_train_steps, found.temperature) == expected


def test_a_hand_weighting_takes_the_place_of_a_learned_one_without_a_kind(tmp_path):
    (tmp_path / "below.yaml").write_text(
        "student: {model: 'tiny:1'}\nteacher: {kind: reference}\nname: a\n"
        "weighting: {num_train_steps: 7}\n"
    )
    (tmp_path / "above.yaml").write_text("base: below.yaml\nweighting: {kind: hand}\n")
    assert load(tmp_path / "above.yaml").weighting == HandWeighting(kind="hand")


def test_a_group_of_another_kind_takes_the_place_of_the_whole_group(tmp_path):
    below = (
        "teacher: {kind: vllm, model: 'tiny:0', samples: {per_question: 4}, fallback: reference}\n"
    )
    path = write(tmp_path, top=f"base: below.yaml\n{MINIMAL_TEXT}", below=below)
    assert load(path).teacher.fallback == "drop"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"top": "base: gone.yaml"}, ["gone.yaml", "No such file"]),
        ({"top": "base: top.yaml"}, ["top.yaml", "its own base"]),
        (
            {"top": "base: [a.yaml]", "a": "base: b.yaml", "b": "base: a.yaml"},
            ["a.yaml", "own base"],
        ),
        ({"top": "base: a.yaml", "a": "- 1"}, ["a.yaml", "mapping"]),
        ({"top": "base: [1]"}, ["top.yaml", "base", "1"]),
        ({"top": "base: {a: b}"}, ["top.yaml", "base", "file"]),
        ({"top": "base: null"}, ["top.yaml", "base", "file"]),
    ],
)
def test_a_wrong_base_is_named_in_one_line(tmp_path, files, words):
    with pytest.raises(KpodError) as caught:
        load(write(tmp_path, **files))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_two_files_may_have_the_same_base(tmp_path):
    files = {"top": f"base: [a.yaml, b.yaml]\n{MINIMAL_TEXT}", "a": "base: c.yaml"}
    assert load(write(tmp_path, **files, b="base: c.yaml", c="seed: 5")).seed == 5


def test_further_sets_are_merged_over_a_base_and_left_out_by_null(tmp_path):
    base, top = tmp_path / "base.yaml", tmp_path / "top.yaml"
    base.write_text(
        "name: b\nteacher: {kind: reference}\nstudent: {model: 'tiny:0'}\n"
        "evaluation: {also: {a: {source: file, path: a.jsonl}, b: {source: file, path: b.jsonl}}}\n"
    )
    top.write_text("base: base.yaml\nevaluation: {also: {c: {source: arithmetic}, a: null}}\n")
    assert {name: source.source for name, source in load(top).evaluation.also.items()} == {
        "b": "file",
        "c": "arithmetic",
    }
    changed = load(top, ["evaluation.also.b.path=d.jsonl"]).evaluation.also["b"]
    assert (changed.source, changed.path) == ("file", "d.jsonl")
    other = load(top, ["evaluation.also.b={source: arithmetic, num_test: 3}"]).evaluation.also["b"]
    assert other.num_test == 3
    assert load(top, ["evaluation.also=null"]).evaluation.also == {}
    assert load(base).override({"evaluation.also.a": None}).evaluation.also.keys() == {"b"}
