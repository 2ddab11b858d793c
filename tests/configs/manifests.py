"""Compares manifests with the fields that KubeRay and Kubernetes know."""

import re
from pathlib import Path

import kubernetes.client
import yaml

KUBERAY = yaml.safe_load((Path(__file__).parent / "kuberay-1.6.2.yaml").read_text())
PLAIN = {
    **{"string": str, "str": str, "integer": int, "int": int},
    **{"boolean": bool, "bool": bool, "number": (int, float), "float": (int, float)},
}


def problems(value, kind, path):
    """Return a line about every field that isn't known or has another type."""
    if isinstance(kind, list):
        return _all(value, list, path, lambda items: _each(items, kind[0], path))
    if kind == {}:
        return _all(value, dict, path, lambda map_: _each(map_.values(), "string", path))
    if kind.startswith("k8s:"):
        return _kubernetes(value, kind.removeprefix("k8s:"), path)
    if kind in KUBERAY:
        return _fields(value, KUBERAY[kind], path)
    if kind in PLAIN:
        return _all(value, PLAIN[kind], path, lambda _: [])
    words = kind.removeprefix("=").split("|")
    return [] if value in words else [f"{path}: {value!r} is not one of {kind}"]


def _kubernetes(value, kind, path):
    """Compare with a type as the Kubernetes client names it: ``V1Pod``, ``List[str]``."""
    if kind in PLAIN:
        return problems(value, kind, path)
    if kind == "object" or kind.startswith("datetime"):
        return []
    if match := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        return _all(value, list, path, lambda items: _each(items, f"k8s:{match[1]}", path))
    if match := re.fullmatch(r"[Dd]ict[(\[]str, (.+)[)\]]", kind):
        inner = f"k8s:{match[1]}"
        return _all(value, dict, path, lambda map_: _each(map_.values(), inner, path))
    model = getattr(kubernetes.client, kind)
    names = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    return _fields(value, {name: f"k8s:{kind}" for name, kind in names.items()}, path)


def _fields(value, known, path):
    if not isinstance(value, dict):
        return [f"{path}: expected a mapping, got {value!r}"]
    found = [f"{path}.{name}: unknown field" for name in value if name not in known]
    for name, inner in value.items():
        if name in known:
            found += problems(inner, known[name], f"{path}.{name}")
    return found


def _each(values, kind, path):
    return [
        line for i, value in enumerate(values) for line in problems(value, kind, f"{path}[{i}]")
    ]


def _all(value, type_, path, inside):
    is_right = isinstance(value, type_) and not (isinstance(value, bool) and type_ is not bool)
    return inside(value) if is_right else [f"{path}: {value!r} has another type"]
