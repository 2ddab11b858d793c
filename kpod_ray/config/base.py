"""The base class of all settings, and the types of texts and numbers that several settings share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

_NOT_ONE_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def _checked_line(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    if _NOT_ONE_LINE.search(text):
        raise ValueError("the text holds a line break or another control character")
    return text


Line = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_checked_line)]
"""Text of one line that isn't empty, such as a path or the name of a model."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Seed that NumPy, scikit-learn and torch accept."""
LearningRate = Annotated[float, Field(gt=0)]


NOT_BOOLEAN = "not_boolean"
"""Type of the validation error of a boolean in a wrong place; its context has ``name`` and ``value``."""


class Config(BaseModel):
    """Base class of all groups of settings. Instances are immutable; unknown keys are errors.

    Numbers are finite, and a boolean is no number and no text.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _check_booleans(cls, values: Any) -> Any:
        """Refuse a boolean, alone or in a list, where none is meant: pydantic reads true as 1."""
        for name, value in values.items() if isinstance(values, Mapping) else ():
            field = cls.model_fields.get(name)
            items = value if isinstance(value, list | tuple) else [value]
            has_boolean = any(isinstance(item, bool) for item in items)
            if field and has_boolean and not _takes_booleans(field.annotation):
                raise PydanticCustomError(
                    NOT_BOOLEAN,
                    "expected no boolean; for text, put yes, no, on, off, true and false in quotes",
                    {"name": name, "value": value},
                )
        return values


def _takes_booleans(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_takes_booleans(part) for part in get_args(annotation))
