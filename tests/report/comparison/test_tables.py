import dataclasses
import json

import pytest

from kpod_ray.report.comparison.statistics import findings
from kpod_ray.report.comparison.tables import arm_rows, comparison_rows


@pytest.fixture(scope="module")
def rows(comparison):
    return {row["arm"]: row for row in comparison_rows(comparison)}


def test_every_arm_has_a_row_with_the_same_columns(rows, comparison):
    assert list(rows) == [arm.name for arm in comparison.arms]
    assert len({tuple(row) for row in rows.values()}) == 1


def test_rows_are_plain_values(rows):
    assert json.loads(json.dumps(rows)) == rows


def test_the_baseline_has_no_difference_and_the_others_one(rows):
    assert rows["uniform"]["verdict"] == "baseline"
    assert rows["uniform"]["difference"] is None
    for name in set(rows) - {"uniform"}:
        difference = rows[name]["accuracy"] - rows["uniform"]["accuracy"]
        assert rows[name]["difference"] == pytest.approx(difference)
        assert rows[name]["difference_low"] <= difference <= rows[name]["difference_high"]


def test_costs_are_means_over_the_seeds_and_none_without_training(rows):
    assert rows["uniform"]["supervised_tokens"] == 402_001
    assert rows["untrained"]["train_seconds"] is None
    assert rows["untrained"]["num_seeds"] == 1


def test_texts_agree_with_the_plain_values(comparison, rows):
    for row in arm_rows(comparison, findings(comparison)):
        plain = rows[row.name]
        assert row.verdict == plain["verdict"]
        assert row.accuracy == f"{100 * plain['accuracy']:.1f}\u00a0%"
        if plain["difference"] is not None:
            shown = float(row.difference.replace("\u2212", "-"))
            assert shown == pytest.approx(100 * plain["difference"], abs=0.051)
    assert row.overrides == "arms.kpod_adaptive.token_weights: kpod\nseed: 3\n"


def test_step_statistics_and_keypoint_shares_are_means_over_the_seeds(comparison, rows):
    # Three seeds of uniform: 0, 1, 2 steps too many; 25, 37.5 and 50 % early stops.
    assert (rows["uniform"]["generated_minus_gold"], rows["uniform"]["early_stops"]) == (1, 0.375)
    assert rows["uniform"]["keypoint_share"] == pytest.approx(0.41)
    assert rows["answer_only"]["keypoint_share"] is None
    texts = {row.name: row for row in arm_rows(comparison, findings(comparison))}
    uniform, untrained = texts["uniform"], texts["untrained"]
    assert (uniform.generated_minus_gold, uniform.early_stops) == ("+1.00", "37.5\u00a0%")
    assert (untrained.generated_minus_gold, untrained.early_stops) == ("\u22121.25", "75.0\u00a0%")
    assert (uniform.keypoint_share, untrained.keypoint_share) == ("41.0\u00a0%", "\u2013")


def test_a_bar_is_as_long_as_its_share_of_the_longest(comparison):
    widths = {row.name: row.width for row in arm_rows(comparison, findings(comparison))}
    assert (widths["untrained"], widths["uniform"]) == ("0.00", "100.00")
    assert float(widths["answer_only"]) == pytest.approx(100 * 21_001 / 402_001, abs=0.01)


def test_arms_that_no_contrast_names_show_their_difference_without_a_test(comparison, rows):
    pairs = (("kpod", "uniform"), ("kpod", "hand_weights"), ("uniform", "dft"))
    chosen = dataclasses.replace(comparison, contrasts=pairs)
    plain = {row["arm"]: row for row in comparison_rows(chosen)}
    texts = {row.name: row for row in arm_rows(chosen, findings(chosen))}
    for name in set(rows) - {"uniform"}:
        ends = ("difference", "difference_low", "difference_high")
        assert [plain[name][end] for end in ends] == [rows[name][end] for end in ends]
        assert (
            texts[name].difference.strip("+\u2212") == f"{abs(100 * rows[name]['difference']):.1f}"
        )
        assert " to " in texts[name].difference_interval
    tested = {name for name, row in plain.items() if row["p_holm"] is not None}
    assert tested == {"kpod", "dft"}
    for name in set(rows) - {"uniform", "kpod", "dft"}:
        assert plain[name]["verdict"] == texts[name].verdict == "untested"
        assert texts[name].words == "not tested against uniform"
        assert texts[name].p_value == texts[name].adjusted_p == "\u2013"
    assert texts["dft"].verdict == rows["dft"]["verdict"]
    assert (texts["uniform"].words, texts["uniform"].difference) == ("baseline", "\u2013")
