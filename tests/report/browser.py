"""Pages opened in Chromium, if it is installed."""

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="chromium isn't installed")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--dump-dom", "--enable-logging=stderr", "--virtual-time-budget=60000", "--timeout=100000"),
]
MEASURE = """<!DOCTYPE html>
<script>
function isInScroller(element) {
  for (let at = element.parentElement; at; at = at.parentElement)
    if (getComputedStyle(at).overflowX !== "visible") return true;
  return false;
}
function isOutside(inner, outer) {
  return inner.width && (inner.left < outer.left - 2 || inner.right > outer.right + 2
    || inner.top < outer.top - 2 || inner.bottom > outer.bottom + 2);
}
function found(page, width) {
  const name = (e) => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 40)}`;
  const wide = [...page.querySelectorAll("body *")].filter(
    (e) => !e.closest("svg") && e.getBoundingClientRect().right > width + 1 && !isInScroller(e));
  const texts = [...page.querySelectorAll("[data-figure] text")];
  const clipped = texts.filter((text) => isOutside(
    text.getBoundingClientRect(), text.closest("[data-figure]").getBoundingClientRect()));
  return {
    width: page.scrollWidth, wide: wide.map(name), texts: texts.map((e) => e.textContent),
    clipped: clipped.map((e) => e.textContent),
    background: getComputedStyle(page.querySelector("body")).backgroundColor,
  };
}
const frames = WIDTHS.map((width) => {
  const frame = document.createElement("iframe");
  Object.assign(frame, { src: "page.html", width, height: 900, style: "border: 0" });
  document.documentElement.append(frame);
  return frame;
});
const timer = setInterval(() => {
  const pages = frames.map((frame) => frame.contentDocument?.documentElement);
  if (!pages.every((page) => page?.dataset.figuresDrawn)) return;
  clearInterval(timer);
  const all = pages.map((page, at) => found(page, WIDTHS[at]));
  document.documentElement.dataset.found = JSON.stringify(all);
}, 100);
</script>
"""


def opened(source, folder, *flags):
    """Return the document as it is after its scripts have run, and the browser's log."""
    file = folder / "page.html"
    file.write_text(source, encoding="utf-8")
    return _run(file, folder, flags)


def measured(source, folder, widths, *flags):
    """Open a page in frames of some widths in pixels, and return what doesn't fit into each.

    Returns:
        For each width: ``width`` that the page takes; ``wide``, elements that reach over the right
        border of the frame and can't be scrolled; ``clipped``, texts that reach over the border of their
        figure; ``texts`` of all figures; ``background``, the colour of the page.
    """
    (folder / "page.html").write_text(source, encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(MEASURE.replace("WIDTHS", str(widths)), encoding="utf-8")
    own = ("--allow-file-access-from-files", "--hide-scrollbars", *flags)
    document, _ = _run(frame, folder, own)
    return json.loads(html.unescape(re.search('data-found="([^"]*)"', document)[1]))


def _run(file, folder, flags):
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def root_of(document):
    """Return the opening tag of a document."""
    return re.search("<html[^>]*>", document)[0]
