"""What all pages share: a page is one self-contained HTML file.

Invariants: the file loads nothing from anywhere; every text is escaped by the template engine, with
control characters and direction marks made visible; a content security policy lets only the two
scripts of this package run, known by their hashes, so that even a text that got through could not.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kpod_ray.report.formatting import clipped, duration, number, token_text, visible


@dataclass(frozen=True, slots=True)
class Tile:
    """One number at the top of a page."""

    name: str
    value: str
    remark: str


def fill(template: str, context: Mapping[str, Any], figures: Mapping[str, go.Figure]) -> str:
    """Return a template filled with texts and figures, to be written as UTF-8.

    The same content gives the same text. It is about 5 MB, nearly all of it plotly.js.
    """
    environment = _environment()
    scripts = [get_plotlyjs(), environment.get_template("script.html").render()]
    return environment.get_template(template).render(
        context,
        policy=_policy(scripts),
        scripts=[Markup(script) for script in scripts],
        figures={name: figure.to_json() for name, figure in figures.items()},
    )


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kpod_ray.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clipped=clipped, duration=duration, number=number, token_text=token_text
    )
    return environment


def _harmless(value: Any) -> Any:
    """Make control characters visible in every text the template prints; jinja escapes it after."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value) if is_text else value


def _policy(scripts: list[str]) -> str:
    """Return the content security policy that allows these inline scripts and no loading."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
