"""The names of vLLM's engine arguments, without loading vLLM."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from kpod_ray.errors import KpodError


def check_engine_arguments(setting: str, names: Iterable[str]) -> None:
    """Refuse names that vLLM's ``AsyncEngineArgs`` doesn't have; without vLLM, nothing is checked.

    Raises:
        KpodError: A name is unknown; ``setting`` is the path of the names, for the message.
    """
    known = _known_names()
    for name in names:
        if known and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {setting}.{nearest[0]}?" if nearest else "; remove it"
            raise KpodError(f"{setting}: vLLM has no engine argument {name!r}{hint}")


def _known_names() -> set[str]:
    """Read the names from vLLM's source, because the import of vLLM takes many seconds."""
    spec = importlib.util.find_spec("vllm")
    folders = spec.submodule_search_locations if spec else None
    source = Path(folders[0]) / "engine" / "arg_utils.py" if folders else None
    if source is None or not source.is_file():
        return set()
    return {
        field.target.id
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name in ("EngineArgs", "AsyncEngineArgs")
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
