"""A parser of the report's HTML pages for tests."""

import base64
import hashlib
import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """The parsed page: tags, attributes, scripts, table rows, and the text of each section.

    Parsing fails with an AssertionError if tags aren't closed in the right order.

    Args:
        source: HTML of the page.
    """

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.sections, self.rows, self.scripts = {}, [], []
        self.section = "header"
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
            return
        self.sections[self.section] = self.sections.get(self.section, "") + data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def cells(self, label):
        """Return the cells of the first table row whose first cell starts with a label."""
        rows = [row for row in self.rows if row and row[0].strip().startswith(label)]
        return [cell.strip().replace("\u00a0", " ") for cell in rows[0]]

    def policy(self):
        """Return the Content-Security-Policy that says which scripts may run."""
        (policy,) = [v for _, name, v in self.attributes if name == "content" and "script-src" in v]
        return policy

    def script_digests(self):
        """Return the digest of each script as a policy names it."""
        digests = [hashlib.sha256(script.encode()).digest() for script in self.scripts]
        return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]

    def figures(self):
        """Return the data of every figure on the page: a list of Plotly traces for each figure."""
        values = [json.loads(value) for _, name, value in self.attributes if name == "data-figure"]
        return [value["data"] for value in values]
