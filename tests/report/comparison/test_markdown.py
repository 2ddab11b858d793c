import dataclasses
import io
import itertools
import re

import pytest

from kpod_ray.cli.terminal import Terminal
from kpod_ray.report.comparison.headline import headline
from kpod_ray.report.comparison.markdown import comparison_markdown, escaped
from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.step_groups import step_groups
from kpod_ray.report.comparison.wording import sensitivity
from kpod_ray.report.formatting import p_text, signed_points


def tables(text):
    """Return the tables of a Markdown text as lists of cells; an escaped bar is no border."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    starts = [at for at, cells in enumerate(lines) if set(cells[0].strip()) == {"-"}]
    bounds = [*(at - 1 for at in starts), len(lines)]
    cut = [lines[a:b] for a, b in itertools.pairwise(bounds)]
    return [[[cell.strip() for cell in cells] for cells in table] for table in cut]


@pytest.fixture(scope="module")
def text(comparison):
    return comparison_markdown(comparison)


def test_tables_have_a_row_for_each_arm_and_even_columns(text, comparison):
    arms = [arm.name for arm in comparison.arms]
    others = [name for name in arms if name != "uniform"]
    for table, names in zip(
        tables(text), (arms, others, arms, arms[1:], arms[1:], arms), strict=True
    ):
        assert [row[0] for row in table[2:]] == names
        assert len({len(row) for row in table}) == 1


def test_the_numbers_are_those_of_the_findings(text, comparison):
    main, contrasts, _, _, _, by_steps = tables(text)
    found = findings(comparison)
    for row, estimate in zip(main[2:], found.accuracies, strict=True):
        assert row[1] == f"{100 * estimate.value:.1f}\u00a0%"
    for row, one in zip(contrasts[2:], found.contrasts.values(), strict=True):
        assert row[1] == signed_points(one.difference.value)
        assert row[4] == p_text(one.adjusted_p).replace("<", "&lt;")
    groups = step_groups(comparison)
    assert by_steps[0][1:] == [f"{group.num_steps} ({group.num_questions})" for group in groups]
    assert by_steps[2][1] == f"{100 * groups[0].accuracies[0]:.1f}\u00a0%"


def test_it_says_what_the_test_could_see_and_a_verdict_for_each_arm(text, comparison):
    assert sensitivity(comparison, findings(comparison)) in text
    for arm in comparison.arms:
        assert (f"\n- {arm.name}: " in text) == (arm.name != "uniform")


def test_it_leads_with_one_sentence(text, comparison):
    title, sentence, *_ = text.split("\n\n")
    assert title == "# laptop-arms"
    assert sentence == escaped(headline(comparison, findings(comparison)))


def test_arms_that_are_not_tested_have_a_table_of_their_own(comparison):
    pairs = (("kpod", "uniform"), ("kpod", "dft"))
    chosen = dataclasses.replace(comparison, contrasts=pairs)
    text = comparison_markdown(chosen)
    rows = tables(text)[2][2:]
    names = [arm.name for arm in comparison.arms if arm.name not in ("kpod", "uniform")]
    assert "## Against uniform, not tested" in text
    assert [row[0] for row in rows] == names
    (dft,) = [row for row in rows if row[0] == "dft"]
    assert dft[1] == signed_points(findings(chosen).to_baseline["dft"].value)


def test_the_same_results_give_the_same_text(text, comparison):
    assert comparison_markdown(comparison) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("answer_only", "answer_only"),
        ("_x_ *y*", r"\_x\_ \*y\*"),
        ("a|b\n\n# c", r"a\|b \# c"),
        ("<img src=x>&", "&lt;img src=x&gt;&amp;"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("`\\`", r"\`\\\`"),
    ],
)
def test_texts_are_shown_literally_on_one_line(raw, shown):
    assert escaped(raw) == shown


def test_hostile_text_changes_no_structure(hostile_comparison):
    text = comparison_markdown(hostile_comparison)
    assert not re.search("[<>\x00\x1b\u202e\u2066\ud800]", text)
    assert [len(table) for table in tables(text)] == [5, 4, 5, 4, 4, 5]
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 7


def test_every_row_fits_into_a_line_of_a_terminal_of_80_columns(comparison):
    twice = dataclasses.replace(
        comparison.baseline_arm, name="longer_baseline", cost_tokens=(2_600_000,) * 3
    )
    longer = dataclasses.replace(comparison, longer_baseline=twice)
    stream = io.StringIO()
    console = Terminal(file=stream, width=80)
    console.markdown(comparison_markdown(longer).split("## Accuracy by number")[0])
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for arm in comparison.arms[1:]:
        rows = [line for line in lines if re.match(rf" +{arm.name} +\S", line)]
        assert len(rows) == (6 if arm.name != "uniform" else 5), arm.name


def test_only_what_was_measured_is_shown(comparison):
    arms = tuple(
        dataclasses.replace(
            arm,
            curves=(),
            tried_rates=(),
            cost_tokens=(),
            cost_seconds=(),
            early_stops=(),
            keypoint_share=(),
        )
        for arm in comparison.arms
    )
    text = comparison_markdown(dataclasses.replace(comparison, arms=arms))
    assert len(tables(text)) == 3
    assert "Validation accuracy during" not in text
