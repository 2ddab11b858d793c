"""Python code in model folders, which runs only if the model's name begins with `TRUSTED`."""

from __future__ import annotations

from typing import Any

from kpod_ray.errors import KpodError

TRUSTED = "trusted:"
"""Beginning of a model's name that allows the code in the model's folder to run."""


def is_trusted(name: str) -> bool:
    """Return whether the name of a model allows the model's own code to run."""
    return name.startswith(TRUSTED)


def plain_name(name: str) -> str:
    """Return the name of a model without `TRUSTED`."""
    return name.removeprefix(TRUSTED)


def with_trust_of(name: str, model: str) -> str:
    """Return ``name`` with `TRUSTED` in front if the model of which it is a copy is trusted."""
    return f"{TRUSTED}{name}" if is_trusted(model) else name


def load_pretrained(auto_class: Any, name: str, folder: str, **options: Any) -> Any:
    """Return ``auto_class.from_pretrained(folder, **options)``; ask no question on the terminal.

    Args:
        auto_class: class of transformers, such as ``AutoConfig``.
        name: name of the model in the config, which says whether the model's own code may run.
        folder: folder of the model, or name on the hub, see `sources.model_folder`.
        options: further arguments.

    Raises:
        KpodError: The model needs its own code, and isn't trusted.
        Exception: As in ``from_pretrained``.
    """
    try:
        return auto_class.from_pretrained(folder, trust_remote_code=is_trusted(name), **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise KpodError(
            f"model {name}: it needs Python code from its own folder, which isn't run; read the code, "
            f"then name the model {TRUSTED}{name}"
        ) from error
