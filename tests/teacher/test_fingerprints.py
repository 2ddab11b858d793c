"""Which settings of a teacher determine its texts, its artifact, or neither: every one of them."""

import typing

import pytest

from kpod_ray.config import (
    EndpointTeacher,
    FileTeacher,
    ReferenceTeacher,
    RunConfig,
    TeacherConfig,
    VllmTeacher,
)
from kpod_ray.data.prompts import worked_examples
from kpod_ray.pipeline.fingerprints import name_artifacts
from kpod_ray.records import Question
from kpod_ray.storage.store import Store
from kpod_ray.teacher.fingerprints import generation_fingerprint

KINDS = typing.get_args(typing.get_args(TeacherConfig)[0])
BASES = {
    VllmTeacher: {"kind": "vllm", "model": "tiny:0"},
    EndpointTeacher: {
        "kind": "endpoint",
        "model": "m",
        "base_url": "http://here/v1",
        "price": {"output": 1.0},
    },
    FileTeacher: {"kind": "file", "path": "a.jsonl"},
    ReferenceTeacher: {"kind": "reference"},
}
ONE_VALUE = {
    VllmTeacher: {"kind"},
    EndpointTeacher: {"kind"},
    FileTeacher: {"kind"},
    ReferenceTeacher: {"kind", "fallback"},
}
"""Settings that tell the kind and have no other value."""
GENERATION = {
    "temperature": 0.8,
    "top_p": 0.9,
    "max_new_tokens": 9,
    "stop": ("x",),
    "template": "plain",
    "system_prompt": "You are a teacher.",
    "instruction": "Think.",
    "num_shots": 1,
}
SELECTION = {
    "fallback": "reference",
    "filters": {"max_steps": 3},
    "selection": "longest",
    "thoughts": "drop",
    "num_kept": 2,
}
COMPLETIONS = {
    VllmTeacher: {**GENERATION, "model": "tiny:1", "engine_kwargs": {"dtype": "bfloat16"}},
    EndpointTeacher: {
        **GENERATION,
        "model": "n",
        "base_url": "http://there/v1",
        "extra_body": {"reasoning_effort": "low"},
    },
    FileTeacher: {},
    ReferenceTeacher: {},
}
"""By kind, another value of each setting that determines the completions, and so the artifact."""
ARTIFACT_ONLY = {
    VllmTeacher: {**SELECTION, "samples": {"per_question": 4}},
    EndpointTeacher: {**SELECTION, "samples": {"retry_rounds": 1}},
    FileTeacher: {
        **SELECTION,
        "path": "b.jsonl",
        "name": "Me",
        "columns": {"rationale": "text"},
    },
    ReferenceTeacher: {k: value for k, value in SELECTION.items() if k != "fallback"},
}
"""The same of each setting that determines the artifact of phase ``teacher`` and no completion."""
NEITHER = {
    VllmTeacher: {},
    EndpointTeacher: {
        "api_key_env": "MY_API_KEY",
        "max_concurrent": 3,
        "requests_per_minute": 9,
        "tokens_per_minute": 9000,
        "timeout_s": 1.0,
        "max_tries": 2,
        "max_wait_s": 1.0,
        "price": {"input": 1.0},
        "max_cost": 5.0,
    },
    FileTeacher: {},
    ReferenceTeacher: {},
}
"""The same of each setting that determines nothing but how a server is asked."""
CLASSIFIED = [COMPLETIONS, ARTIFACT_ONLY, NEITHER]
WORKED = [Question(f"q{i}", f"{i}?", "1", "number", (), "train", "It is 1.") for i in range(3)]


def cases(*tables):
    return [
        pytest.param(kind, {name: value}, id=f"{kind.__name__}.{name}")
        for table in tables
        for kind in KINDS
        for name, value in table[kind].items()
    ]


@pytest.fixture
def artifact_of(tmp_path, monkeypatch):
    """What names the artifact of phase ``teacher`` for the settings of a teacher."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text(
            "{}"
        )  # the same content, so that a fingerprint is of a setting

    def name_artifact(teacher):
        run = {"name": "t", "teacher": teacher, "student": {"model": "tiny:0"}}
        config = RunConfig.model_validate(run)
        return name_artifacts(config, Store.open(str(tmp_path)))["teacher"].fingerprint

    return name_artifact


def completions_of(kind, teacher):
    """Name the completions of a teacher, with the worked examples that its settings ask for."""
    config = kind(**teacher)
    return generation_fingerprint(config, "", worked_examples(WORKED, config.num_shots), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_of_every_kind_is_classified_once(kind):
    classified = [name for table in CLASSIFIED for name in table[kind]]
    assert sorted([*classified, *ONE_VALUE[kind]]) == sorted(kind.model_fields)
    for name in ONE_VALUE[kind]:
        assert len(typing.get_args(kind.model_fields[name].annotation)) == 1


@pytest.mark.parametrize(("kind", "changed"), cases(*CLASSIFIED))
def test_the_changed_values_are_not_the_defaults(kind, changed):
    assert kind(**BASES[kind] | changed) != kind(**BASES[kind])


@pytest.mark.parametrize(("kind", "changed"), cases(COMPLETIONS))
def test_a_setting_that_determines_completions_names_other_ones(kind, changed, artifact_of):
    base = BASES[kind]
    assert completions_of(kind, base | changed) != completions_of(kind, base)
    assert artifact_of(base | changed) != artifact_of(base)


@pytest.mark.parametrize(("kind", "changed"), cases(ARTIFACT_ONLY))
def test_what_becomes_of_texts_names_another_artifact_of_the_same_completions(
    kind, changed, artifact_of
):
    base = BASES[kind]
    if kind in (VllmTeacher, EndpointTeacher):
        assert completions_of(kind, base | changed) == completions_of(kind, base)
    assert artifact_of(base | changed) != artifact_of(base)


@pytest.mark.parametrize(("kind", "changed"), cases(NEITHER))
def test_how_a_server_is_asked_names_nothing(kind, changed, artifact_of):
    base = BASES[kind]
    assert completions_of(kind, base | changed) == completions_of(kind, base)
    assert artifact_of(base | changed) == artifact_of(base)


def test_kinds_never_share_completions():
    settings = {"model": "m", "temperature": 0}
    local = generation_fingerprint(VllmTeacher(kind="vllm", **settings), "", [], 0)
    server = EndpointTeacher(kind="endpoint", base_url="http://here/v1", **settings)
    assert generation_fingerprint(server, "", [], 0) != local


def test_the_fingerprint_is_of_what_is_written_not_of_how_much_or_what_becomes_of_it():
    base = {"kind": "vllm", "model": "tiny:0"}

    def fingerprint(seed=0, shots=(), **settings):
        return generation_fingerprint(VllmTeacher(**base, **settings), "hash", shots, seed)

    same = [
        fingerprint(samples={"per_question": 4}),
        fingerprint(selection="longest", filters={"max_steps": 3}, fallback="reference"),
    ]
    other = [
        fingerprint(temperature=0.8),
        fingerprint(max_new_tokens=9),
        fingerprint(instruction="Think."),
        fingerprint(stop=["x"]),
        fingerprint(engine_kwargs={"dtype": "bfloat16"}),
        fingerprint(seed=1),
        fingerprint(shots=[("q", "a")]),
    ]
    assert set(same) == {fingerprint()}
    assert len({fingerprint(), *other}) == 1 + len(other)
    assert fingerprint(seed=1, temperature=0) == fingerprint(seed=2, temperature=0)


def test_how_an_endpoint_is_asked_does_not_change_what_it_writes():
    def fingerprint(**settings):
        teacher = EndpointTeacher(kind="endpoint", model="m", base_url="http://here/v1", **settings)
        return generation_fingerprint(teacher, "", [], 0)

    assert fingerprint() == fingerprint(max_concurrent=3, requests_per_minute=9, timeout_s=1)
    assert fingerprint() != fingerprint(extra_body={"reasoning_effort": "low"})
