"""What ``import kpod_ray`` offers."""

import ast
import inspect
from pathlib import Path

import pytest

import kpod_ray


def checked_imports():
    """Return module and name of each import that type checkers see, by the exported name."""
    tree = ast.parse(Path(kpod_ray.__file__).read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    return {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in block.body
        for alias in node.names
    }


def test_types_and_values_come_from_the_same_places():
    assert checked_imports() == kpod_ray._HOMES
    assert sorted(kpod_ray._HOMES) == sorted(kpod_ray.__all__)


@pytest.mark.parametrize("name", kpod_ray.__all__)
def test_an_export_is_the_object_of_its_module(name):
    value = getattr(kpod_ray, name)
    module, _, own_name = kpod_ray._HOMES[name].partition(":")
    assert value.__name__ == own_name
    assert inspect.getmodule(value).__name__.startswith(module)
    assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'kpod_ray' has no attribute 'weighted_nl'"):
        _ = kpod_ray.weighted_nl
    with pytest.raises(ImportError):
        from kpod_ray import nothing  # noqa: F401
