"""The page of all settings says what the code says."""

import inspect

import pytest

from docs.reference import PAGE, TAGS, prose, write_page
from kpod_ray.config import Config, RunConfig, load

ROOT = PAGE.parents[1]


def settings_classes(base=Config):
    for child in base.__subclasses__():
        yield child
        yield from settings_classes(child)


def rows():
    """Return key -> the cells beside it; of a key that several kinds have, one list of them each."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.replace(r"\|", "\0").strip("| ").split("|")]
            found.setdefault(cells[0].strip("`"), []).append(cells[1:])
    return found


def test_the_page_is_what_the_code_gives():
    assert PAGE.read_text() == write_page(), "run python -m docs.reference"


def test_every_field_of_every_class_is_there_with_its_docstring():
    known = rows()
    meanings = {(key.split(".")[-1], cells[-1]) for key, own in known.items() for cells in own}
    text = PAGE.read_text()
    for owner in settings_classes():
        for name in inspect.get_annotations(owner):
            if name not in owner.model_fields:
                continue
            described = prose(owner.model_fields[name].description)
            if name in TAGS:
                assert any(key.endswith(f".{name}") for key in known)
                continue
            assert described, f"{owner.__name__}.{name} has no docstring"
            is_chapter = owner is RunConfig and f"\n## {name}\n\n{described}" in text
            assert (name, described) in meanings or is_chapter, f"{owner.__name__}.{name}"


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("seed", ["whole number, at least 0, at most 4,294,967,295", "`0`"]),
        ("student.learning_rate", ["number, over 0", "`1e-05`"]),
        ("student.model", ["text", "required"]),
        ("student.exported_student", ["`last` or `best`", '`"last"`']),
        ("student.max_grad_norm", ["number, over 0, at most 1,000,000,000, or `null`", "`1.0`"]),
        ("student.lora", ["group or `null`", "`null`"]),
        ("teacher.stop", ["list of texts", "`[]`"]),
        ("teacher.price.output", ["number, at least 0, at most 1,000,000,000", "`0.0`"]),
        ("resources.train.num_workers", ["whole number, at least 1, at most 100,000", "`2`"]),
        ("comparison.custom_arms.NAME.overrides", ["mapping", "`{}`"]),
    ],
)
def test_a_key_has_its_type_limits_and_default(key, cells):
    assert rows()[key][0][:2] == cells


def test_what_kinds_share_is_told_once_and_what_one_changes_again():
    known = rows()
    assert len(known["teacher.samples.per_question"]) == 1
    assert [cells[1] for cells in known["teacher.fallback"]] == ['`"drop"`', '`"reference"`']
    assert {cells[0] for cells in known["teacher.kind"]} == {
        *("`vllm`", "`endpoint`", "`file`", "`reference`")
    }


def test_the_keys_of_a_resolved_config_are_in_the_page():
    known = rows()

    def leaves(node, prefix=""):
        for name, value in node.items():
            key = f"{prefix}{name}"
            takes = {cells[0] for cells in known.get(key, [])}
            if isinstance(value, dict) and takes != {"mapping"}:
                yield from leaves(value, f"{key}.")
            else:
                yield key

    resolved = load(ROOT / "configs" / "laptop.yaml").model_dump()
    assert not [key for key in leaves(resolved) if key not in known]
