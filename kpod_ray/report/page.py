"""One self-contained HTML file about a run.

Invariants: the file loads nothing from anywhere; every text is escaped by the template engine, with
control characters and direction marks made visible; a content security policy lets only the two
scripts of this package run, known by their hashes, so that even a text that got through could not.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kpod_ray.report import view
from kpod_ray.report.figures import figures_of
from kpod_ray.report.results import RunResults
from kpod_ray.report.summary import tiles
from kpod_ray.report.tokens import Scale
from kpod_ray.report.wording import clipped, duration, number, token_text, verdict_line, visible


def render(results: RunResults) -> str:
    """Return the report of a run as the text of one HTML file, to be written as UTF-8.

    The same results give the same text. It is about 5 MB, nearly all of it plotly.js.
    """
    environment = _environment()
    scripts = [get_plotlyjs(), environment.get_template("script.html").render()]
    shown = results.weighted_rationales[: view.MAX_RATIONALES]
    scale = Scale.of(shown)
    context = {
        "results": results,
        "policy": _policy(scripts),
        "scripts": [Markup(script) for script in scripts],
        "verdict_line": verdict_line(results.accuracies),
        "tiles": tiles(results),
        "figures": {name: figure.to_json() for name, figure in figures_of(results).items()},
        "scale": scale,
        "accuracy_rows": view.accuracy_rows(results),
        "verdict_rows": view.verdict_rows(results.verdict_counts),
        "num_rationales": sum(results.verdict_counts.values()),
        "reject_groups": view.reject_groups(results.rejects),
        "rationales": view.shown_rationales(results, scale),
        "predictions": view.shown_predictions(results),
        "prediction_counts": view.prediction_counts(results),
        "phase_rows": view.phase_rows(results.phase_seconds),
        "num_seconds": sum(results.phase_seconds.values()),
    }
    return environment.get_template("page.html").render(context)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("kpod_ray.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clipped=clipped,
        duration=duration,
        number=number,
        question=view.question_text,
        token_text=token_text,
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
