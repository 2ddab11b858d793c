"""README's tree and the tour of CONTRIBUTING.md name what there is."""

import re

from tests.docs.pages import BLOCKS, ROOT


def tree():
    """Return the paths that README's tree lists, each with a line about it."""
    (block,) = (b for b in BLOCKS if b.page == "README.md" and b.text.startswith("kpod_ray/"))
    paths, above = [], []
    for line in block.text.splitlines():
        names, _, about = line.strip().partition("  ")
        depth = (len(line) - len(line.lstrip())) // 2
        while above and above[-1][0] >= depth:
            above.pop()
        folder = "".join(name for _, name in above)
        assert about.strip() or names == "kpod_ray/", f"{names} has no line"
        paths += [f"{folder}{name}" for name in names.split(", ")]
        if names.endswith("/"):
            above.append((depth, names))
    return paths


def test_what_the_tree_lists_is_there():
    assert not [path for path in tree() if not (ROOT / path).exists()]


def test_the_tree_lists_every_folder_of_modules_and_stays_short():
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "kpod_ray").rglob("*.py")}
    assert {f"{module.rpartition('/')[0]}/" for module in modules} <= set(tree())
    assert len(tree()) <= 35


def test_the_tour_names_files_that_there_are():
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## A tour of the code")[2]
    text = text.partition("## Documentation")[0]  # which names folders that are yet to be built
    folder = None
    for name in re.findall(r"`([\w/.]+(?:\.py|\.md|\.toml|/))`", text):
        path = ROOT / name
        if "/" not in name and not path.exists():
            path = folder / name  # a file beside the one before it
        folder = path.parent
        assert path.exists() or (ROOT / "kpod_ray" / name).exists(), name
