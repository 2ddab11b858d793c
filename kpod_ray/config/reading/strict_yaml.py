"""Read YAML as settings: values that JSON can hold, each key once, no surprise of YAML 1.1.

Config files, their bases and the values of overrides all pass through `read_yaml`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

MAX_BYTES = 1 << 18
"""Largest size of a config file; PyYAML needs quadratic time for some texts."""
_MAX_DEPTH = 20
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels; use fewer"
_MAX_NODES = 100_000
"""Most values after aliases are replaced by what they stand for."""
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)\Z")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_BOOL = re.compile(r"(?:yes|no|true|false|on|off)\Z", re.IGNORECASE)
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?\Z")
_OCTAL = re.compile(r"[-+]?0[0-9_]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class YamlError(ValueError):
    """A text that isn't accepted as settings; the message is one line, with the line and the reason."""


def read_yaml(text: str) -> Any:
    """Return the value of a YAML text: None, a boolean, a number, text, a list, or a mapping of these.

    YAML 1.1 holds, except that ``1e-4`` is a number and ``1:30`` is text.

    Raises:
        YamlError: The text isn't YAML; a key is no text or stands twice in a mapping; a value has a type
            that JSON lacks, such as a date; a number isn't finite, exceeds 64 bits or begins with 0; a
            text holds a control character; or the values are nested too deep or refer to themselves.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker("\n" in text.strip()).check(node)
        return loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        reason = f"the character {chr(error.character)!a} is not allowed"
        raise YamlError(f"{reason}; remove it") from error
    except yaml.MarkedYAMLError as error:
        raise YamlError(f"this is not YAML: {_described(error)}") from error
    except RecursionError as error:
        raise YamlError(_TOO_DEEP) from error
    finally:
        if loader is not None:
            loader.dispose()


def write_yaml(value: Any) -> str:
    """Return a value as YAML from which `read_yaml` reads an equal value; mappings keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def shown(value: object) -> str:
    """Return the ``repr`` of a value for a message, shortened in the middle."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"


class _Loader(yaml.SafeLoader):
    """A loader with only the types that JSON has; `_Checker` sees every node before a value is made."""

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        """Refuse a bracket that is nested too deep before PyYAML looks for its end."""
        if self.flow_level > _MAX_DEPTH:
            raise YamlError(_TOO_DEEP)
        super().fetch_flow_collection_start(token_class)


class _Dumper(yaml.SafeDumper):
    """A dumper that puts texts in quotes that `read_yaml` would take for numbers."""


def _described(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context or "").split())
    mark = error.problem_mark or error.context_mark
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else problem


class _Checker:
    """Checks the nodes of a document before values are made of them.

    Args:
        has_lines: whether messages name lines.
    """

    def __init__(self, has_lines: bool) -> None:
        self.has_lines = has_lines
        self.sizes: dict[int, int] = {}
        """Number of values in a node that was checked, by the id of the node."""
        self.open: set[int] = set()
        """Nodes around the current one."""

    def check(self, node: yaml.Node) -> int:
        """Check a node and all nodes inside; return their number, with aliases replaced."""
        if id(node) in self.open:
            raise self.refusal(node, "an alias (*) stands inside its own anchor (&); remove it")
        if id(node) in self.sizes:
            return self.sizes[id(node)]
        if len(self.open) > _MAX_DEPTH:
            raise self.refusal(node, _TOO_DEEP)
        self.open.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            self._check_scalar(node)
        elif node.tag != f"{_TAG}{'map' if isinstance(node, yaml.MappingNode) else 'seq'}":
            kind = shown(node.tag.removeprefix(_TAG))
            raise self.refusal(node, f"a value of the type {kind}; use a list or a mapping")
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
        size = 1 + sum(self.check(inner) for inner in _inner(node))
        if size > _MAX_NODES:
            raise self.refusal(node, f"more than {_MAX_NODES} values; use fewer aliases")
        self.open.remove(id(node))
        self.sizes[id(node)] = size
        return size

    def refusal(self, node: yaml.Node, reason: str) -> YamlError:
        """Return the error for a node."""
        return YamlError(f"line {_line(node)}: {reason}" if self.has_lines else reason)

    def _check_keys(self, node: yaml.MappingNode) -> None:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (
                f"{_TAG}str",
                f"{_TAG}merge",
            ):
                name = f"key {shown(key.value)}" if isinstance(key, yaml.ScalarNode) else "a key"
                raise self.refusal(key, f"{name} is not text; put it in quotes")
            if key.value in lines:
                where = f" (lines {lines[key.value]} and {_line(key)})" if self.has_lines else ""
                raise YamlError(f"key {shown(key.value)} is given twice{where}; remove one")
            lines[key.value] = _line(key)

    def _check_scalar(self, node: yaml.ScalarNode) -> None:
        try:
            _value(node)
        except ValueError as error:
            raise self.refusal(node, str(error)) from error


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _value(node: yaml.ScalarNode) -> Any:
    """Return the value of a scalar; raise `ValueError` for one that is refused."""
    text = node.value
    kind = node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool" and _BOOL.match(text):
        return text.lower() in ("yes", "true", "on")
    if kind == "int":
        return _whole_number(text)
    if kind == "float":
        return _number(text)
    if kind not in ("str", "merge"):
        raise ValueError(f"{shown(text)} is of the type {shown(kind)}; put it in quotes for text")
    found = _CONTROL.search(text)
    if found:
        raise ValueError(f"the text holds the character {found.group()!a}; remove it")
    return text


def _whole_number(text: str) -> int:
    if _OCTAL.match(text):
        raise ValueError(f"{shown(text)} begins with 0 (octal?); leave 0 out, or put it in quotes")
    try:
        value = int(text.replace("_", ""), 0)
    except ValueError:  # also of more digits than Python converts
        value = 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{shown(text)} is no whole number of 64 bits; give a smaller number")
    return value


def _number(text: str) -> float:
    try:
        value = float(text.replace("_", ""))
    except ValueError:  # .inf, .nan, or a text that is marked as a number
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{shown(text)} is no finite number; give one, or put it in quotes")
    return value


_Loader.yaml_implicit_resolvers = {}  # those of YAML 1.1 are left out
for _kind, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("timestamp", _DATE, "0123456789"),
    ("merge", re.compile(r"<<\Z"), "<"),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"{_TAG}{_kind}", _pattern, list(_first))
_Loader.yaml_constructors = {
    **{
        f"{_TAG}{kind}": lambda loader, node: _value(node)
        for kind in ("null", "bool", "int", "float", "str")
    },
    f"{_TAG}seq": yaml.SafeLoader.construct_yaml_seq,
    f"{_TAG}map": yaml.SafeLoader.construct_yaml_map,
}
