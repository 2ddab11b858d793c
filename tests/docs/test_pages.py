"""Pages are read as their readers see them."""

from tests.docs.pages import blocks_of, commands_of

PAGE = """\
# Title

<!-- run -->

    kpod run a.yaml \\
      name=b    # why
    KEY=1 kpod doctor

Text, with a line
    that is no code.

<!-- file: a.yaml -->

```yaml
name: a
```

    seed: 1

<!-- needs: a cluster -->
Text takes the mark away.

    {"id": "a"}

A tree:

    kpod_ray/
      cli.py
"""


def test_blocks_have_their_kind_and_their_marks():
    blocks = blocks_of("page.md", PAGE)
    assert [(block.kind, block.line, block.marks) for block in blocks] == [
        ("shell", 5, {"run": ""}),
        ("yaml", 14, {"file": "a.yaml"}),
        ("yaml", 18, {}),
        ("json", 23, {}),
        ("text", 27, {}),
    ]


def test_commands_are_whole_lines_without_their_comments():
    commands = commands_of(blocks_of("page.md", PAGE)[0])
    assert [c.words for c in commands] == [
        ("kpod", "run", "a.yaml", "name=b"),
        ("kpod", "doctor"),
    ]
