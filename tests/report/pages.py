"""A reader of pages."""

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags, attributes and text of a page, with the text of each section and the table cells."""

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
        if tag != "meta":
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
        """Return the cells of the row whose first cell begins with the label."""
        rows = [row for row in self.rows if row and row[0].strip().startswith(label)]
        return [cell.strip().replace("\u00a0", " ") for cell in rows[0]]

    def figures(self):
        values = [json.loads(value) for _, name, value in self.attributes if name == "data-figure"]
        return [value["data"] for value in values]
