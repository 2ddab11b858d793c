"""A comparison of tiny students, end to end: one corpus, arms and seeds apart, resumed, budgets."""

import dataclasses
import json
import os
import shutil

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from kpod_ray.comparison.compare import ComparisonCallbacks, compare
from kpod_ray.comparison.record import Record
from kpod_ray.comparison.trials import arm_settings
from kpod_ray.config import ARMS, ComparisonConfig, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.export import FORMATS, export_corpus
from kpod_ray.pipeline.lookup import FinishedRun
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import QUIET
from kpod_ray.report.comparison.outcomes import ChosenRate, QuestionSet
from kpod_ray.report.comparison.page import comparison_markdown
from kpod_ray.report.run.collect import collect
from kpod_ray.report.run.page import render
from kpod_ray.tracking.phase_summaries import phase_summary

ARM_NAMES = ("uniform", "answer_only", "hand_weights", "kpod_adaptive")


def config_of(storage, **comparison):
    return RunConfig.model_validate(
        {
            "name": "c",
            "storage": str(storage),
            "questions": {"source": "arithmetic", "num_train": 8, "num_test": 4, "max_steps": 3},
            "teacher": {"kind": "reference"},
            "weighting": None,
            "schedule": {"num_stages": 2, "num_clusters": 2},
            "student": {
                # From here: every process must find it.
                "model": os.path.relpath(model_folder("tiny:1")),
                "learning_rate": 1e-2,
                "global_batch_size": 4,
            },
            "evaluation": {"backend": "transformers", "max_new_tokens": 4},
            "resources": {"train": {"num_workers": 1, "num_threads": 1}},
            "comparison": {"arms": ARM_NAMES, "num_seeds": 1, "max_concurrent": 2, **comparison},
        }
    )


class Ears:
    """Remembers which artifacts were made, their manifests, which trials finished, and the rates."""

    def __init__(self):
        self.made, self.trials, self.manifests, self.counts, self.rates = [], [], [], [], []
        callbacks = dataclasses.replace(QUIET, on_start=self.made.append)
        self.callbacks = ComparisonCallbacks(
            callbacks, self.finish, lambda *counts: None, self.rates.append
        )

    def finish(self, trial, num_done, num_trials):
        self.trials.append(trial.arm)
        self.counts.append((num_done, num_trials))


@pytest.fixture(scope="module")
def first(ray_cluster, tmp_path_factory):
    storage, ears = tmp_path_factory.mktemp("compare"), Ears()
    results = compare(config_of(storage), ears.callbacks, [str(storage / "outcomes.jsonl")])
    ears.manifests = sorted(storage.glob("*/*/manifest.json"))  # another test makes more of them
    return storage, ears, results


@pytest.mark.slow
def test_the_corpus_is_made_once_and_every_arm_once(first):
    storage, ears, results = first
    shared = ["questions", "teacher", "weigh", "assess", "evaluate_before"]
    assert ears.made[: len(shared)] == shared
    # The plan of two arms is the same; the weights and difficulties of one are its own.
    assert ears.made[len(shared) :] == ["plan", "weigh", "assess", "plan", "plan"]
    assert len(list((storage / "questions").iterdir())) == 1
    assert len(list((storage / "assess").iterdir())) == 2
    assert sorted(ears.trials) == sorted(ARM_NAMES)
    assert [arm.name for arm in results.arms] == ["untrained", *ARM_NAMES]
    assert all(arm.correct.shape == (1, 4) for arm in results.arms)


def run_of(storage, arm):
    """The first trial of an arm."""
    config = config_of(storage).override({**ARMS[arm].overrides, "student.seed": 0})
    return open_run(config)


@pytest.mark.slow
def test_an_arm_is_trained_with_weights_of_its_own(first):
    storage, _, _ = first
    for arm, weights, means in (("uniform", {1.0}, (1, 1)), ("hand_weights", {0.3, 1.0}, (0.3, 1))):
        run = run_of(storage, arm)
        written = pc.list_flatten(run.artifacts["weigh"].read("weighted")["token_weights"])
        assert {round(weight, 6) for weight in written.to_pylist()} == weights
        train = run.artifacts["train"]
        history = json.loads(train.store.read_text(f"{train.folder}/history.json"))
        assert all(means[0] <= row["token_weight_mean"] <= means[1] for row in history)
        assert len({row["token_weight_mean"] for row in history}) == (1 if arm == "uniform" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["uniform", "hand_weights"])
def test_report_tracking_export_and_card_need_no_learned_weighter(first, arm, tmp_path):
    run = run_of(first[0], arm)
    page = render(collect(run.config, run.artifacts))
    assert "All token weights" in page
    assert "Validation loss, and the share of tokens" not in page
    mean = phase_summary("weigh", run.artifacts).outcome["outcome/mean_token_weight"]
    assert mean == 1 if arm == "uniform" else 0.3 < mean < 1
    share = phase_summary("train", run.artifacts).outcome["outcome/keypoint_share"]
    assert 0 < share < 1
    for name in FORMATS:
        out = str(tmp_path / f"{name}.jsonl")
        assert (
            export_corpus(
                FinishedRun("c", run.store, run.folder, run.config, run.artifacts), out, name
            )
            == 8
        )
    card = (first[0] / run.artifacts["train"].folder / "student" / "README.md").read_text()
    assert f"| token weights | {'uniform' if arm == 'uniform' else 'hand'} |" in card


@pytest.mark.slow
def test_all_arms_get_the_same_train_steps(first):
    _, _, results = first
    assert {arm.train_steps for arm in results.arms[1:]} == {(4,)}
    tokens = {arm.name: arm.supervised_tokens[0] for arm in results.arms[1:]}
    assert tokens["answer_only"] < tokens["kpod_adaptive"] < tokens["uniform"]
    assert tokens["hand_weights"] == tokens["uniform"]


@pytest.mark.slow
def test_a_second_call_makes_nothing_and_says_the_same(first):
    storage, _, results = first
    ears = Ears()
    again = compare(config_of(storage), ears.callbacks)
    assert ears.made == []
    assert sorted(ears.trials) == sorted(ARM_NAMES)
    pairs = zip(results.arms, again.arms, strict=True)
    assert all((a.correct == b.correct).all() and a.curves == b.curves for a, b in pairs)


@pytest.mark.slow
def test_a_fresh_machine_goes_on_from_the_outcomes(first, tmp_path):
    storage, _, results = first
    file = tmp_path / "outcomes.jsonl"
    shutil.copy(storage / "outcomes.jsonl", file)
    ears = Ears()
    again = compare(config_of(tmp_path / "fresh"), ears.callbacks, [str(file)])
    assert (ears.made, ears.counts) == ([], [(n, 4) for n in (1, 2, 3, 4)])
    assert not list((tmp_path / "fresh").glob("*/*/manifest.json"))
    assert comparison_markdown(again) == comparison_markdown(results)
    assert file.read_text() == (storage / "outcomes.jsonl").read_text()


@pytest.mark.slow
def test_outcomes_of_other_settings_are_refused_before_anything_starts(first, tmp_path):
    file = str(first[0] / "outcomes.jsonl")
    config = config_of(tmp_path).override({"student.warmup": 0.5})
    with pytest.raises(KpodError, match=r"^outcomes .*: arm \w+ has outcomes of other settings"):
        compare(config, Ears().callbacks, [file])
    assert not list(tmp_path.glob("*/*/manifest.json"))


@pytest.mark.slow
def test_what_was_deleted_is_made_again_and_nothing_else(first):
    storage, ears, results = first
    before = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    deleted = {
        next(path for path in ears.manifests if path.parts[-3] == phase)
        for phase in ("weigh", "assess", "train")
    }
    for path in deleted:
        shutil.rmtree(path.parent)
    again = compare(config_of(storage), Ears().callbacks)
    after = {path: path.stat().st_mtime_ns for path in storage.glob("*/*/manifest.json")}
    assert {path for path, when in after.items() if before.get(path) != when} == deleted
    pairs = zip(results.arms, again.arms, strict=True)
    assert all((a.correct == b.correct).all() and a.curves == b.curves for a, b in pairs)


@pytest.mark.slow
def test_a_token_budget_is_spent_by_every_arm(first):
    storage, _, results = first
    config = config_of(storage, budget="loss_tokens", arms=("uniform", "answer_only"))
    spent = compare(config, Ears().callbacks)
    budget = results.baseline_arm.supervised_tokens[0]
    uniform, answer_only = spent.arms[1:]
    assert uniform.supervised_tokens == (budget,)
    largest_step = 4 * 40  # four answers of at most so many tokens
    assert budget <= answer_only.supervised_tokens[0] < budget + largest_step
    assert answer_only.train_steps[0] > uniform.train_steps[0]


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


def test_every_built_in_arm_is_a_valid_config(tmp_path):
    config = config_of(tmp_path, arms=tuple(ARMS))
    runs = {name: open_run(config.override(arm.overrides)) for name, arm in ARMS.items()}
    folders = {run.artifacts["train"].folder for run in runs.values()}
    assert len(folders) == len(ARMS)
    own = runs.pop("hand_weights").artifacts
    papers = [runs.pop(name).artifacts for name in ("paper_weights", "kpod_paper")]
    for phase in ("weigh", "assess"):
        (shared,) = {run.artifacts[phase].folder for run in runs.values()}
        (paper,) = {artifacts[phase].folder for artifacts in papers}
        assert len({own[phase].folder, paper, shared}) == 3
    (shared,) = {run.artifacts["teacher"].folder for run in runs.values()}
    assert own["teacher"].folder == shared


def test_a_wrong_arm_is_refused_before_anything_is_made(tmp_path):
    overrides = {"weighting": {"kind": "file", "path": str(tmp_path / "nowhere.jsonl")}}
    custom = {"theirs": {"overrides": overrides}}
    config = config_of(tmp_path, arms=("uniform", "theirs"), custom_arms=custom)
    ears = Ears()
    with pytest.raises(KpodError, match=r"nowhere\.jsonl doesn't exist"):
        compare(config, ears.callbacks)
    assert ears.made == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"arms": ["kpood"]}, "unknown arm kpood"),
        ({"baseline": "kpod"}, "baseline kpod is not among the arms"),
        (
            {"custom_arms": {"big": {"overrides": {"teacher.kind": "vllm"}}}},
            "an arm may change weighting, schedule, student",
        ),
        ({"arms": ["kpod", "uniform", "kpod"]}, "arm kpod is listed twice"),
        *(
            ({"custom_arms": {name: {}}}, f"{name} is a built-in arm; give the custom arm another")
            for name in ("kpod", "uniform", "untrained")
        ),
        ({"custom_arms": {"a b": {}}}, "String should match pattern"),
        *(
            (
                {"custom_arms": {"big": {"overrides": overrides}}},
                rf"arm big changes student.{setting}, which no arm may: ",
            )
            for setting in (
                *("model", "template", "precision", "max_length", "overlength", "kernels"),
                *("validation_fraction", "seed", "loss_token_budget"),
            )
            for overrides in ({f"student.{setting}": 1}, {"student": {setting: 1}})
        ),
        *(
            ({"custom_arms": {"big": {"overrides": {path: 3}}}}, "number of train steps, which")
            for path in ("schedule.num_stages", "student.global_batch_size")
        ),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tmp_path, settings, words):
    with pytest.raises(KpodError, match=words):
        config_of(tmp_path).override({f"comparison.{k}": v for k, v in settings.items()})


def test_a_model_of_an_arm_that_is_not_there_is_told_before_anything_starts(tmp_path):
    own = {"big": {"overrides": {"weighting": {"predictor": "packaged:gone"}}}}
    config = config_of(tmp_path, arms=("uniform", "big"), custom_arms=own)
    with pytest.raises(KpodError, match=r"^arm big: model packaged:gone: known are"):
        compare(config, Ears().callbacks)
    assert not list(tmp_path.glob("*/*/manifest.json"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"student.learning_rate": -1}, "student.learning_rate: Input should be greater than 0"),
        ({"student.lerning_rate": 1}, "unknown key student.lerning_rate, did you mean student.lea"),
        ({"schedule.full_stage": 3}, "full_stage is larger than num_stages"),
        ({"student": 3}, "student: "),
        ({"weighting.num_heads": 2}, "weighting is a value, not a group"),
    ],
)
def test_a_setting_that_an_arm_can_not_have_is_told_with_the_arm(tmp_path, overrides, words):
    own = {"big": {"overrides": overrides}}
    config = config_of(tmp_path, arms=("uniform", "big"), custom_arms=own)
    with pytest.raises(KpodError, match=rf"^arm big: .*{words}"):
        compare(config, Ears().callbacks)
    assert not list(tmp_path.rglob("*"))


def test_with_a_budget_of_tokens_arms_may_differ_in_train_steps(tmp_path):
    own = {"long": {"overrides": {"schedule.num_stages": 3}}}
    config = config_of(tmp_path, arms=("uniform", "long"), custom_arms=own, budget="loss_tokens")
    assert list(config.comparison.chosen()) == ["uniform", "long"]


def test_arms_of_ones_own_are_known():
    own = {"fast": {"description": "d", "overrides": {"student.learning_rate": 1e-2}}}
    config = ComparisonConfig.model_validate({"arms": ["uniform", "fast"], "custom_arms": own})
    assert json.loads(config.model_dump_json())["custom_arms"] == own
    assert list(config.chosen()) == ["uniform", "fast"]


def test_a_student_that_vllm_can_not_evaluate_is_refused_before_anything_is_made(tmp_path):
    config = config_of(tmp_path).override({"student.model": "tiny-t5:1"})
    with pytest.raises(KpodError, match="model tiny-t5:1: vLLM takes no encoder-decoder model"):
        compare(config.override({"evaluation.backend": "vllm"}), Ears().callbacks)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
