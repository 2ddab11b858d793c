"""Pages fit into the screens of a desk, a tablet and a phone, in light and dark colours."""

import dataclasses
import re
from pathlib import Path

import pytest

from kpod_ray import report
from kpod_ray.records import Prediction
from kpod_ray.report.comparison.page import render_comparison
from kpod_ray.report.run.data import PredictionPair, RunResults
from kpod_ray.report.run.page import render
from kpod_ray.report.sweep.page import render_sweep
from tests.report.browser import measured, needs_browser

WORD = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


def wide_run(results):
    """The run with words and numbers that are wider than a phone, and text from right to left."""
    texts = (
        WORD * 3,
        "9" * 300,
        "لدى سارة 3 تفاحات واشترت 5 أخرى.",
        "她有三个苹果又买了五个。" * 9,
    )
    pairs = [
        PredictionPair("q", prediction, prediction)
        for text in texts
        for prediction in [Prediction("q", text, "stop", 9, text, text, False)]
    ]
    questions = {
        name: dataclasses.replace(question, question=texts[at % 4])
        for at, (name, question) in enumerate(results.questions.items())
    }
    rationales = tuple(
        dataclasses.replace(
            row, text=text, token_starts=(0,), token_ends=(len(text),), token_weights=(0.5,),
            step_starts=(0,), step_ends=(len(text),),
        )
        for row, text in zip(results.weighted_rationales, texts, strict=True)
    )  # fmt: skip
    return dataclasses.replace(
        results, name=WORD, predictions=tuple(pairs), questions=questions,
        weighted_rationales=rationales, warnings={"teacher": WORD * 2},
    )  # fmt: skip


@pytest.fixture
def pages(results, comparison, swept):
    """Name -> HTML of a page of each kind, with long words, contrasts and nothing."""
    pairs = (("kpod", "uniform"), ("kpod_uniform_difficulty", "kpod_without_diversity"))
    return {
        "run": render(wide_run(results)),
        "empty run": render(RunResults("empty")),
        "comparison": render_comparison(dataclasses.replace(comparison, contrasts=pairs)),
        "sweep": render_sweep(swept),
    }


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "empty run", "comparison", "sweep"])
def test_nothing_is_wider_than_the_screen_and_no_label_is_cut(pages, name, tmp_path):
    widths = [390, 660, 768, 1280]
    for width, found in zip(widths, measured(pages[name], tmp_path, widths), strict=True):
        assert found["wide"] == [], width
        assert found["width"] == width
        assert found["clipped"] == [], width


@needs_browser
@pytest.mark.slow
def test_the_measurement_finds_what_is_too_wide_or_cut(tmp_path):
    source = """<!DOCTYPE html><html data-figures-drawn=1><body style="margin: 0">
        <p style="width: 500px">a</p>
        <div style="overflow: auto"><p style="width: 500px">b</p></div>
        <div data-figure style="width: 99px; overflow: hidden">
          <svg width=300><text x=95 y=50>far out</text><text x=5 y=50>in</text></svg>
        </div></body>"""
    (found,) = measured(source, tmp_path, [390])
    assert (found["wide"], found["clipped"]) == (["P.: a"], ["far out"])
    assert (found["width"], found["texts"]) == (500, ["far out", "in"])


@needs_browser
@pytest.mark.slow
def test_every_axis_of_a_sweep_is_named_also_on_a_phone(swept, tmp_path):
    for found in measured(render_sweep(swept), tmp_path, [390, 1280]):
        for path in swept.paths:
            assert path.rpartition(".")[2] in found["texts"]
        # the last axis of the parallel coordinates, five panels, and the learning curves
        assert found["texts"].count("validation loss") == 1 + 5 + 1


@needs_browser
@pytest.mark.slow
def test_a_dark_screen_gets_a_dark_page(tmp_path):
    source = render(RunResults("empty"))
    backgrounds = []
    for scheme in (0, 1):
        flag = f"--blink-settings=preferredColorScheme={scheme}"
        backgrounds += [found["background"] for found in measured(source, tmp_path, [768], flag)]
    assert backgrounds == ["rgb(17, 21, 27)", "rgb(250, 249, 246)"]


def palettes():
    """Return the colours of the light and of the dark page: name -> hexadecimal digits."""
    style = (Path(report.__file__).parent / "templates" / "style.html").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--(\w+): #([0-9a-f]{6})", block)) for block in (light, dark)]


def luminance(color):
    """Return the relative luminance of a colour of six hexadecimal digits, as WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_has_the_contrast_21():
    assert contrast("000000", "ffffff") == pytest.approx(21)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "muted", "accent", "good", "bad"])
@pytest.mark.parametrize("ground", ["bg", "card"])
def test_texts_have_the_contrast_that_wcag_asks_for(palette, name, ground):
    assert contrast(palette[name], palette[ground]) >= 4.5
