"""A comparison whose seed draws its questions, with chosen learning rates and a longer baseline."""

import shutil

import pyarrow.parquet as pq
import pytest

from kpod_ray.comparison.compare import compare
from kpod_ray.comparison.record import Record
from kpod_ray.comparison.trials import arm_settings
from kpod_ray.report.comparison.markdown import comparison_markdown
from kpod_ray.report.comparison.outcomes import ChosenRate, QuestionSet
from tests.comparison.comparisons import Ears, config_of

RATES = (1e-2, 1e-5)


def drawing_config(storage):
    """Two arms with one seed that draws its questions, chosen rates and a longer baseline."""
    config = config_of(
        storage,
        arms=("uniform", "kpod"),
        resample="all",
        first_seed=3,
        learning_rates=RATES,
        equal_cost=True,
    )
    student = {"student.validation_fraction": 0.5, "student.accuracy_every_stages": 1}
    return config.override({**student, "schedule.num_stages": 1, "seed": 2})


@pytest.fixture(scope="module")
def drawn(ray_cluster, tmp_path_factory):
    storage, ears = tmp_path_factory.mktemp("drawn"), Ears()
    config, files = drawing_config(storage), [str(storage / "o" / "new.jsonl")]
    settings = arm_settings(config)
    record = Record.open(files, settings)
    record.begin(QuestionSet(tuple(f"arith-test-{i:05d}" for i in range(4)), (1, 2, 3, 1)))
    record.add(ChosenRate("kpod", settings["kpod"], 1e-3, ()))
    results = compare(config, ears.callbacks, files)
    return storage, ears, results


def questions_of(storage):
    """Training and test questions of each artifact of phase questions."""
    tables = [pq.read_table(path) for path in storage.glob("questions/*/questions.parquet")]
    rows = [table.select(["split", "question"]).to_pylist() for table in tables]
    return [
        [{row["question"] for row in part if row["split"] == split} for part in rows]
        for split in ("train", "test")
    ]


@pytest.mark.slow
def test_a_seed_has_training_questions_of_its_own_and_the_test_questions_of_all(drawn):
    train, test = questions_of(drawn[0])
    assert len(train) == 3  # of the base settings, of the seed, and of the seed that chooses rates
    assert not set.intersection(*train)
    assert test[0] == test[1] == test[2]
    assert len(test[0]) == 4


@pytest.mark.slow
def test_learning_rates_are_chosen_by_validation_and_the_test_set_is_opened_once(drawn):
    storage, ears, results = drawn
    uniform, kpod = results.arms[1:]
    (rate,) = ears.rates  # the rate of kpod was recorded
    assert len(list((storage / "train").iterdir())) == 2 + 2 + 1
    assert len(list((storage / "evaluate").iterdir())) == 1 + 2 + 1
    assert [tried for tried, _ in rate.accuracies] == sorted(RATES)
    best = max(accuracy for _, accuracy in rate.accuracies)
    assert uniform.learning_rate == min(r for r, a in rate.accuracies if a == best)
    assert (uniform.name, uniform.tried_rates) == (rate.arm, rate.accuracies)
    assert results.longer_baseline.learning_rate == uniform.learning_rate
    assert (kpod.learning_rate, kpod.tried_rates) == (1e-3, ())
    for arm in (uniform, kpod):
        assert [point.accuracy is not None for point in arm.curves[0]] == [True]


@pytest.mark.slow
def test_the_longer_baseline_costs_as_much_as_the_dearest_arm(drawn):
    _, ears, results = drawn
    uniform, kpod = results.arms[1:]
    assert uniform.cost_tokens == uniform.train_tokens
    assert kpod.cost_tokens[0] > kpod.train_tokens[0]
    longer = results.longer_baseline
    step = uniform.train_tokens[0] / uniform.train_steps[0]
    assert kpod.cost_tokens[0] <= longer.cost_tokens[0] + step
    assert longer.cost_tokens[0] < kpod.cost_tokens[0] + 2 * step
    assert (results.seeds, ears.counts) == ((3,), [(1, 3), (2, 3), (3, 3)])


@pytest.mark.slow
def test_recorded_seeds_and_rates_are_not_made_again(drawn, tmp_path):
    storage, _, results = drawn
    for where in (storage, tmp_path / "fresh"):
        file = tmp_path / "new.jsonl"
        shutil.copy(storage / "o" / "new.jsonl", file)
        ears = Ears()
        again = compare(drawing_config(where), ears.callbacks, [str(file)])
        assert (ears.made, ears.rates) == ([], [])
        assert comparison_markdown(again) == comparison_markdown(results)
