import subprocess
import sys

import pytest

from kpod_ray.config import HandWeighting, LearnedWeighting, RunConfig, load, parse_override
from kpod_ray.errors import KpodError
from tests.conftest import REPOSITORY

CONFIGS = sorted(
    path
    for path in (REPOSITORY / "configs").rglob("*.yaml")
    if path.parent.name not in ("parts", "cluster") or path.name == "run.yaml"  # no config alone
)
FILE = {"source": "file", "path": "a.jsonl"}
MINIMAL = {
    "name": "a",
    "teacher": {"kind": "file", "path": "r.jsonl"},
    "student": {"model": "tiny:0"},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    assert load(path).name == path.stem


def test_an_override_replaces_one_value_and_nothing_else():
    config = RunConfig.model_validate(MINIMAL)
    changed = config.override({"student.learning_rate": "1e-4", "schedule.num_stages": 3})
    assert changed.student.learning_rate == 1e-4
    assert changed.schedule.num_stages == 3
    assert changed.override({"student.learning_rate": 1e-5, "schedule.num_stages": 20}) == config


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weighting": None},
        {"weighting": {"num_train_steps": 3}},
        {"weighting": {"kind": "file", "path": "w.jsonl"}},
        {"weighting": {"kind": "hand", "plain_weight": 0.5}},
    ],
)
def test_a_dump_validates_to_the_same_config(settings):
    config = RunConfig.model_validate({**MINIMAL, **settings})
    assert RunConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("kind", [{}, {"kind": "learned"}])
def test_token_weights_without_a_kind_are_learned(kind):
    config = RunConfig.model_validate({**MINIMAL, "weighting": {**kind, "num_train_steps": 3}})
    assert config.weighting == LearnedWeighting(num_train_steps=3)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"student.lerning_rate": 1},
            ["student.lerning_rate, did you mean student.learning_rate?"],
        ),
        ({"schdule.num_stages": 3}, ["schdule", "did you mean schedule"]),
        ({"weigher": None}, ["unknown key weigher, did you mean weighting?"]),  # of its own group
        ({"sweep.stopping": "asha"}, ["sweep.stopping, did you mean sweep.early_stopping?"]),
        (
            {"comparison.custom_arms.fast.overides": {}},
            ["fast.overides, did you mean comparison.custom_arms.fast.overrides?"],
        ),
        ({"student.learning_rate": -1}, ["student.learning_rate", "greater than 0", "-1"]),
        ({"student": None}, ["student"]),
        (
            {"student.num_clusters": 4},
            ["student.num_clusters, did you mean schedule.num_clusters?"],
        ),
        ({"num_stages": 4}, ["unknown key num_stages, did you mean schedule.num_stages?"]),
        ({"schedule.full_stage": 30}, ["full_stage is larger than num_stages"]),
        (
            {"schedule.adaptive": True, "schedule.order": "none"},
            ["adaptive needs order progressive"],
        ),
        ({"questions.source": "nowhere"}, ["questions.source", "'arithmetic'", "nowhere"]),
        ({"weighting": {"kind": "hnd"}}, ["weighting.kind", "'learned'", "'hand'", "hnd"]),
        ({"student.token_weights": "symbols"}, ["student.token_weights", "from_weighting"]),
        ({"student.loss": "probability"}, ["student.loss", "dft"]),
        ({"evaluation.also.Asdiv": FILE}, ["evaluation.also.Asdiv: ", "lower-case", "'Asdiv'"]),
        ({"evaluation.also": {"a/b": FILE}}, ["evaluation.also.a/b: ", "lower-case letters"]),
        ({"evaluation.also": {"a.b": FILE}}, ["evaluation.also.a.b: ", "lower-case letters"]),
        ({"evaluation.also": {"": FILE}}, ["evaluation.also.'': ", "lower-case letters"]),
        ({"evaluation.also": {"n" * 41: FILE}}, ["at most 40"]),
        ({"evaluation.also": [FILE]}, ["evaluation.also: expected a group of settings"]),
        ({"evaluation.also.a": 3}, ["evaluation.also.a"]),
        ({"evaluation.also.a": {"path": "a.jsonl"}}, ["evaluation.also.a.source is missing"]),
        ({"evaluation.also.a": {"source": "fil"}}, ["evaluation.also.a.source: expected", "'fil'"]),
        ({"evaluation.also.a": {"source": "file"}}, ["evaluation.also.a.path is missing"]),
        (
            {"evaluation.also.a": {**FILE, "limt": 3}},
            ["unknown key evaluation.also.a.limt, did you mean evaluation.also.a.limit?"],
        ),
        (
            {"evaluation.also.a": {**FILE, "num_test": 3}},
            ["unknown key evaluation.also.a.num_test: file has no such key, arithmetic has"],
        ),
        (
            {"evaluation.also.a": {**FILE, "allow_missing_answers": True}},
            ["evaluation.also.a: allow_missing_answers: a test question needs an answer"],
        ),
        ({"name": "../elsewhere"}, ["name", "../elsewhere"]),
        ({"name.first": 1}, ["name.first", "is a value"]),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(overrides, words):
    with pytest.raises(KpodError) as caught:
        RunConfig.model_validate(MINIMAL).override(overrides)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("a: [", "this is not YAML"), ("- a", "mapping")],
)
def test_a_broken_file_is_named(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(KpodError, match=words) as caught:
        load(path)
    assert str(path) in str(caught.value)


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


MINIMAL_TEXT = "name: a\nteacher: {kind: file, path: r.jsonl}\nstudent: {model: 'tiny:0'}\n"


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


def test_a_key_of_another_kind_is_said_to_be_that():
    with pytest.raises(KpodError) as caught:
        load(REPOSITORY / "configs" / "smoke.yaml", ["weighting={kind: hand, num_heads: 3}"])
    assert "unknown key weighting.num_heads: hand has no such key, learned has" in str(caught.value)


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


def test_override_values_are_yaml():
    assert parse_override("a.b=1e-3") == ("a.b", 1e-3)
    assert parse_override("a=[1, 2]") == ("a", [1, 2])
    assert parse_override("a=x=y") == ("a", "x=y")
    for text in ("a.b", "=1", "a={", ".a=1", "a.=1", "a..b=1", "a b=1", "a=\x1b", "a\x1b=1"):
        with pytest.raises(KpodError, match="override"):
            parse_override(text)


def test_full_stage_defaults_to_half_the_stages():
    config = RunConfig.model_validate(MINIMAL)
    for num_stages, expected in ((20, 10), (5, 2), (1, 1)):
        changed = config.override({"schedule.num_stages": num_stages})
        assert changed.schedule.resolved_full_stage == expected


def test_importing_the_config_loads_neither_torch_nor_ray():
    code = "import kpod_ray.config, sys; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_setting_one_resource_keeps_the_others():
    config = RunConfig.model_validate({**MINIMAL, "resources": {"train": {"num_gpus": 1}}})
    assert config.resources.train.num_workers == 2


TEACHER = {"kind": "vllm", "model": "tiny:0"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"temperature": 0, "samples": {"per_question": 2}},
            "samples at temperature 0 are all the same",
        ),
        ({"temperature": 0, "samples": {"retry_rounds": 1}}, "samples at temperature 0"),
        ({"filters": {"min_steps": 3, "max_steps": 2}}, "min_steps is larger than max_steps"),
        ({"filters": {"min_tokens": 3, "max_tokens": 2}}, "min_tokens is larger than max_tokens"),
        ({"filters": {"near_duplicate": 0}}, "near_duplicate: Input should be greater than 0"),
        (
            {"filters": {"max_step": 2}},
            "key teacher.filters.max_step, did you mean teacher.filters.max_steps",
        ),
        ({"selection": "best"}, "selection: Input should be 'first', 'shortest'"),
        ({"num_kept": 0}, "num_kept: Input should be greater than or equal to 1"),
        ({"samples": {"per_question": 0}}, "samples.per_question: Input should be greater"),
        ({"kind": "endpoint", "base_url": "api.openai.com"}, "base_url: String should match"),
        (
            {"kind": "endpoint", "base_url": "http://me:secret@h/v1"},
            "base_url: a key in it would end up in files",
        ),
        ({"kind": "endpoint"}, "teacher.base_url is missing"),
        (
            {"kind": "endpoint", "base_url": "http://h/v1", "max_tries": 0},
            "max_tries: Input should be",
        ),
    ],
)
def test_what_a_teacher_cannot_be_is_said_in_one_line(settings, message):
    with pytest.raises(KpodError, match=message) as caught:
        RunConfig.model_validate(MINIMAL).override({"teacher": {**TEACHER, **settings}})
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_questions_without_answers_need_a_teacher_that_agrees_with_itself():
    config = RunConfig.model_validate(MINIMAL).override({"teacher": TEACHER})
    questions = {"source": "file", "path": "q.jsonl", "allow_missing_answers": True}
    with pytest.raises(KpodError, match="without a gold answer, only what"):
        config.override({"questions": questions})
    config.override({"questions": questions, "teacher.filters.self_consistency": 0.5})


@pytest.mark.parametrize(
    ("num_gpus", "engine"),
    [
        (4, {}),
        (4, {"pipeline_parallel_size": 2}),
        (4, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
        (0.5, {}),
        (0, {"tensor_parallel_size": 2}),
    ],
)
def test_an_engine_spreads_over_all_of_its_gpus(num_gpus, engine):
    RunConfig.model_validate(MINIMAL).override(
        {"resources.evaluate.num_gpus": num_gpus, "evaluation.engine_kwargs": engine}
    )


@pytest.mark.parametrize(
    ("num_gpus", "engine"),
    [
        (4, {"tensor_parallel_size": 2}),
        (1, {"tensor_parallel_size": 2}),
        (4, {"pipeline_parallel_size": 3}),
    ],
)
def test_gpus_that_an_engine_cannot_use_or_lacks_are_named(num_gpus, engine):
    config = RunConfig.model_validate(MINIMAL).override({"teacher": TEACHER})
    with pytest.raises(KpodError, match=rf"resources.teacher: num_gpus={num_gpus} is not tensor"):
        config.override({"resources.teacher.num_gpus": num_gpus, "teacher.engine_kwargs": engine})


def test_a_pool_cannot_be_smaller_at_most_than_at_least():
    with pytest.raises(KpodError, match="max_actors is smaller than num_actors"):
        RunConfig.model_validate(MINIMAL).override(
            {"resources.teacher": {"num_actors": 3, "max_actors": 2}}
        )


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
