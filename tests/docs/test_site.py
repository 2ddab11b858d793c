"""The site builds without a warning, all its links lead somewhere, and it loads nothing from others."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import BLOCKS, PAGES, ROOT


class Links(HTMLParser):
    """What a page of HTML loads, links to, and can be linked to at."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in ("script", "img", "iframe", "source", "video") and attributes.get("src"):
            self.loaded.append(attributes["src"])
        if tag == "link" and attributes.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(attributes["href"])


def build(folder, pages=ROOT / "docs"):
    """Build the site of these pages; return zensical's exit code and the folder of the site."""
    shutil.copy(ROOT / "zensical.toml", folder)
    shutil.copytree(pages, folder / "docs", dirs_exist_ok=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    return done, folder / "site"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Every page of the built site, by name."""
    done, folder = build(tmp_path_factory.mktemp("site"))
    assert not done.returncode, done.stderr.decode()
    assert "issue" not in done.stderr.decode().replace("No issues", "")
    return folder, {path.name: Links(path.read_text()) for path in folder.glob("*.html")}


def test_every_page_is_built_and_reached_from_the_start(site):
    _, pages = site
    names = {page.with_suffix(".html").name for page in PAGES if page.parent.name == "docs"}
    assert names <= set(pages)
    linked = {urlsplit(link).path.removeprefix("./") for link in pages["index.html"].links}
    assert names - {"index.html"} <= linked


def test_every_block_of_code_is_shown_as_one(site):
    folder, _ = site
    for page in PAGES[2:]:
        text = (folder / page.with_suffix(".html").name).read_text()
        blocks = [b for b in BLOCKS if b.page == f"docs/{page.name}"]
        assert text.count("<pre") == len(blocks), page.name


def test_every_link_and_image_inside_the_site_leads_somewhere(site):
    folder, pages = site
    for name, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            target = unquote(parts.path).lstrip("/") or name
            if parts.scheme or name == "404.html":
                continue
            assert target in (".", "./") or (folder / target).exists(), f"{name}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{name}: {link}"


def test_nothing_is_loaded_from_other_hosts(site):
    folder, pages = site
    for name, page in pages.items():
        assert not [place for place in page.loaded if urlsplit(place).netloc], name
        assert 'class="mermaid"' not in (folder / name).read_text()  # its script comes from a host
    for style in folder.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text())


def test_broken_links_and_anchors_fail_the_build(tmp_path):
    links = ("gone.md", "method.md#gone", "#gone", "../README.md")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text("\n".join(f"[a]({link})" for link in links))
    (tmp_path / "pages" / "method.md").write_text("# B\n")
    done, _ = build(tmp_path, tmp_path / "pages")
    assert done.returncode
    assert b"4 issues found" in done.stderr


def anchors_of(markdown):
    """Return the anchors that GitHub and the site give the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", markdown.read_text(), flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {re.sub(r"\s+", "-", heading.strip()) for heading in kept}


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.name)
def test_links_of_the_pages_outside_the_site_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        place, _, anchor = link.partition("#")
        if not place.startswith("http"):
            assert (ROOT / place).exists(), link
            assert not anchor or anchor in anchors_of(ROOT / place), link


def test_the_diagram_loads_nothing():
    svg = (ROOT / "docs" / "architecture.svg").read_text()
    assert not re.findall(r"href=|url\((?!#)|@import|<script", svg)
