"""Render templates to self-contained HTML files, which load nothing over the network.

Control characters and direction marks of every text are made visible, then Jinja escapes the text. A
content security policy allows only the two inline scripts, by their hashes: a script in a model's text
wouldn't run even if the escaping failed.
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
    """A number at the top of a page, as formatted text, with its name and a remark; not escaped."""

    name: str
    value: str
    remark: str


def fill(template: str, context: Mapping[str, Any], figures: Mapping[str, go.Figure]) -> str:
    """Render a template to an HTML document, to be written as UTF-8.

    The text is deterministic. It has about 5 MB, nearly all of which is plotly.js.

    Args:
        template: file name in ``kpod_ray/report/templates/``, such as ``page.html``.
        context: all variables of the template but ``policy``, ``scripts`` and ``figures``; texts neither
            escaped nor made visible. A missing variable raises ``jinja2.UndefinedError``.
        figures: name -> figure; the template's macro ``figure`` draws them by name, and writes "nothing
            to show" for a missing name. Labels in the figures must be escaped for plotly, see
            `plotting.escaped`.
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
    """Return the Jinja environment: escaping is on, and an undefined variable is an error."""
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
    """Make control characters visible in every text that a template prints; Jinja escapes the result."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return visible(value) if is_text else value


def _policy(scripts: list[str]) -> str:
    """Return the content security policy that allows the given inline scripts and no network access."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
