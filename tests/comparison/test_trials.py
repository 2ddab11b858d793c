"""What a seed of a comparison draws, the fingerprints of its arms, and the choice of learning rates."""

import pytest

from kpod_ray.comparison.preparing import trial_artifacts
from kpod_ray.comparison.record import Record
from kpod_ray.comparison.trials import (
    arm_settings,
    longer_budget,
    planned_arms,
    seed_overrides,
    trial_config,
)
from kpod_ray.comparison.tuning import best_rate, tuning_seeds
from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_comparison
from kpod_ray.pipeline.naming import name_run
from kpod_ray.questions.further import load_further_set
from kpod_ray.questions.loading import load_questions
from kpod_ray.report.comparison.outcomes import Outcomes, QuestionSet, TrialOutcome
from tests.json_lines import write_lines


def config_of(tmp_path, student=(), **comparison):
    return RunConfig.model_validate(
        {
            "name": "c",
            "storage": str(tmp_path / "store"),
            "seed": 7,
            "questions": {"source": "arithmetic", "num_train": 6, "num_test": 4},
            "teacher": {"kind": "reference"},
            "weighting": {"kind": "hand"},
            "student": {"model": "tiny:1", "template": "plain", **dict(student)},
            "evaluation": {"backend": "transformers"},
            "comparison": {"arms": ["uniform", "kpod"], **comparison},
        }
    )


def drawn(config, seed):
    """Training and test questions of a seed of a comparison."""
    changed = config.override(seed_overrides(config, seed))
    questions = load_questions(changed.questions, changed.seed).questions
    return [[q.question for q in questions if q.split == split] for split in ("train", "test")]


@pytest.mark.parametrize("resample", ["order", "questions", "all"])
def test_a_seed_draws_new_training_questions_and_never_new_test_questions(tmp_path, resample):
    config = config_of(tmp_path, resample=resample)
    pairs = [drawn(config, seed) for seed in range(4)]
    base = load_questions(config.questions, config.seed).questions
    assert all(test == [q.question for q in base[6:]] for _, test in pairs)
    num_sets = len({tuple(train) for train, _ in pairs})
    assert num_sets == (1 if resample == "order" else 4)
    if resample == "order":
        assert pairs[0][0] == [q.question for q in base[:6]]


@pytest.mark.parametrize(
    ("resample", "own"),
    [
        ("order", {"train", "evaluate"}),
        ("questions", {"questions", "teacher", "weigh", "assess", "plan", "train", "evaluate"}),
        ("all", {"questions", "teacher", "weigh", "assess", "plan", "train", "evaluate"}),
    ],
)
def test_seeds_share_the_artifacts_that_they_do_not_draw(tmp_path, resample, own):
    config = config_of(tmp_path, resample=resample)
    zero, one = (name_run(trial_config(config, "kpod", s)).artifacts for s in (0, 1))
    differing = {name for name in zero if zero[name].folder != one[name].folder}
    assert differing - {"evaluate_before"} == own


@pytest.mark.parametrize("resample", ["order", "questions", "all"])
def test_no_seed_draws_new_further_sets(tmp_path, resample):
    sets = {"longer": {"source": "arithmetic", "num_test": 3, "min_steps": 4}}
    config = config_of(tmp_path, resample=resample)
    config = config.override({"evaluation.also": sets})
    asked = set()
    for seed in range(3):
        changed = trial_config(config, "kpod", seed)
        source = changed.evaluation.also["longer"]
        asked.add(tuple(load_further_set("longer", source, changed.seed, []).questions))
    assert len(asked) == 1
    base = load_further_set("longer", config.evaluation.also["longer"], config.seed, [])
    assert asked == {tuple(base.questions)}


def test_outcomes_belong_to_the_further_sets_and_trials_answer_them(tmp_path):
    config = config_of(tmp_path)
    more = config.override({"evaluation.also": {"more": {"source": "arithmetic"}}})
    other = more.override({"evaluation.also.more.num_test": 3})
    settings = [arm_settings(each) for each in (config, more, other)]
    assert all(len({each[arm] for each in settings}) == 3 for arm in settings[0])
    assert trial_artifacts(config) == ("train", "evaluate")
    names = trial_artifacts(more)
    made = list(name_run(trial_config(more, "kpod", 0)).artifacts)
    own = [name for name in made if name in names]
    assert sorted(own) == sorted(names)
    assert names[0] == "questions_also"
    assert names[-1] == "evaluate_also"


def test_only_all_draws_the_random_numbers_of_the_weighter(tmp_path):
    seeds = {
        resample: [
            trial_config(config_of(tmp_path, resample=resample), "kpod", seed).seed
            for seed in (0, 1)
        ]
        for resample in ("order", "questions", "all")
    }
    assert seeds == {"order": [7, 7], "questions": [7, 7], "all": [0, 1]}


def test_arms_of_one_seed_share_their_corpus(tmp_path):
    config = config_of(tmp_path, resample="all")
    uniform, kpod = (name_run(trial_config(config, a, 3)).artifacts for a in ("uniform", "kpod"))
    for name in ("questions", "teacher", "weigh", "assess"):
        assert uniform[name].folder == kpod[name].folder


def test_further_arms_and_seeds_change_no_fingerprint(tmp_path):
    settings = arm_settings(config_of(tmp_path))
    more = arm_settings(config_of(tmp_path, arms=["kpod", "uniform", "dft"], num_seeds=9))
    assert set(settings) == {"untrained", "uniform", "kpod"}
    assert {arm: more[arm] for arm in settings} == settings
    assert len(set(more.values())) == 4


@pytest.mark.parametrize(
    ("student", "comparison"),
    [
        ({"warmup": 0.1}, {}),
        ({}, {"resample": "questions"}),
        ({}, {"resample": "all"}),
        ({}, {"budget": "loss_tokens"}),
        ({}, {"learning_rates": [1e-3]}),
        ({}, {"learning_rates": [1e-3, 1e-4]}),
        ({}, {"learning_rates": [1e-3], "num_tuning_seeds": 2}),
    ],
)
def test_every_other_setting_changes_them(tmp_path, student, comparison):
    before = arm_settings(config_of(tmp_path))
    after = arm_settings(config_of(tmp_path, student, **comparison))
    assert before["kpod"] != after["kpod"]


def test_where_rates_are_chosen_the_rate_of_the_config_and_their_order_are_no_setting(tmp_path):
    first = arm_settings(config_of(tmp_path, {"learning_rate": 1}, learning_rates=[1e-3, 1e-4]))
    other = arm_settings(config_of(tmp_path, {"learning_rate": 2}, learning_rates=[1e-4, 1e-3]))
    assert first == other


def test_the_best_rate_is_that_of_the_best_mean_and_the_smallest_of_equal_ones():
    accuracies = {1e-2: [0.1, 0.3], 1e-3: [0.5, 0.1], 1e-4: [0.3, 0.3]}
    chosen = best_rate("kpod", "f", accuracies)
    assert chosen.learning_rate == 1e-4
    assert chosen.accuracies == ((1e-4, 0.3), (1e-3, 0.3), (1e-2, 0.2))


def test_seeds_that_choose_rates_are_none_of_the_comparison(tmp_path):
    config = config_of(tmp_path, first_seed=989_999, num_seeds=10_000, num_tuning_seeds=3)
    assert max(config.comparison.seeds()) < min(tuning_seeds(config))
    assert len(tuning_seeds(config)) == 3


def trial(arm, seed, settings, correct="10", **costs):
    return TrialOutcome(arm, seed, settings, correct, **costs)


@pytest.mark.parametrize(
    ("budget", "planned"), [("train_steps", ["kpod"]), ("loss_tokens", ["uniform", "kpod"])]
)
def test_the_baseline_is_planned_again_only_where_it_sets_the_budget(tmp_path, budget, planned):
    config = config_of(tmp_path, budget=budget)
    assert planned_arms(config, [("kpod", 3), ("kpod", 4)]) == planned
    assert planned_arms(config, [("kpod", 3), ("uniform", 4)]) == ["uniform", "kpod"]
    assert planned_arms(config, []) == []


def test_the_longer_baseline_costs_as_much_as_the_most_expensive_arm(tmp_path):
    # 10 of 100 train tokens are in the loss, and 20 more tokens are no training: for a cost of 520,
    # the training may have 500 tokens, 50 of them in the loss.
    outcomes = Outcomes()
    for arm, costs in (("uniform", (120, 100, 10)), ("kpod", (520, 90, 9))):
        cost, train, loss = costs
        outcomes = outcomes.with_trial(
            trial(arm, 4, "f", cost_tokens=cost, train_tokens=train, supervised_tokens=loss)
        )
    assert longer_budget(config_of(tmp_path), outcomes, 4) == 50


QUESTIONS = QuestionSet(("a", "b"), (1, 1))


def test_a_record_goes_on_from_its_file_and_merges_others(tmp_path):
    settings = {"untrained": "u", "uniform": "f"}
    paths = [str(tmp_path / "deep" / name) for name in ("a.jsonl", "b.jsonl")]
    for seed, path in enumerate(paths):
        record = Record.open([path], settings)
        record.begin(QUESTIONS)
        record.add(trial("untrained", 0, "u"))
        record.add(trial("uniform", seed, "f"))
        record.add(trial("gone", seed, "other"))  # an arm that isn't in the config
    merged = Record.open(paths, settings)
    assert set(merged.outcomes.trials) == {
        ("untrained", 0), ("uniform", 0), ("uniform", 1), ("gone", 0), ("gone", 1)
    }  # fmt: skip
    assert Record.open(paths[:1], settings).outcomes == merged.outcomes
    assert len(Record.open(paths[1:], settings).outcomes.trials) == 3


def test_outcomes_of_other_settings_are_refused_in_one_line(tmp_path):
    path = str(tmp_path / "a.jsonl")
    record = Record.open([path], {})
    record.begin(QUESTIONS)
    record.add(trial("uniform", 0, "f"))
    with pytest.raises(KpodError) as caught:
        Record.open([path], {"uniform": "g"})
    assert str(caught.value) == (
        f"outcomes {path}: arm uniform has outcomes of other settings (fingerprint f, now g); "
        "restore the settings, or give another file"
    )


def test_files_that_can_not_be_used_are_told(tmp_path):
    with pytest.raises(KpodError, match=r"outcomes .*b\.jsonl can't be read: No such file"):
        Record.open([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], {})
    with pytest.raises(KpodError, match=r"can't be read: Is a directory"):
        Record.open([str(tmp_path)], {})
    (tmp_path / "c.jsonl").write_bytes(b"\xff")
    with pytest.raises(KpodError, match="not UTF-8"):
        Record.open([str(tmp_path / "c.jsonl")], {})
    (tmp_path / "file").write_text("")
    with pytest.raises(KpodError, match="can't be written"):
        Record.open([str(tmp_path / "file" / "a.jsonl")], {})
    record = Record.open([], {})
    record.begin(QUESTIONS)
    with pytest.raises(KpodError, match="other test questions"):
        record.begin(QuestionSet(("a", "c"), (1, 1)))


@pytest.mark.parametrize(
    ("comparison", "words"),
    [
        ({"contrasts": [["kpod", "dft"]]}, "contrasts: dft is not among the arms; add it to arms"),
        ({"contrasts": [["kpod", "kpod"]]}, "kpod is compared with itself"),
        ({"contrasts": [["kpod", "uniform"], ["uniform", "kpod"]]}, "is listed twice"),
        ({"learning_rates": [1e-3, 1e-3]}, "learning_rates: a rate is listed twice"),
        ({"learning_rates": [0]}, "greater than 0"),
        ({"first_seed": 990_000}, "less than or equal to"),
        ({"custom_arms": {"longer_baseline": {}}}, "longer_baseline is a built-in arm"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tmp_path, comparison, words):
    with pytest.raises(ValueError, match=words):
        config_of(tmp_path, **comparison)


def test_an_arm_with_a_rate_of_its_own_has_none_to_be_chosen(tmp_path):
    own = {"fast": {"overrides": {"student": {"learning_rate": 1e-2}}}}
    fast = {"arms": ["uniform", "fast"], "custom_arms": own}
    with pytest.raises(ValueError, match=r"arm fast changes student\.learning_rate, which"):
        config_of(tmp_path, **fast, learning_rates=[1e-3])
    assert config_of(tmp_path, **fast).comparison.chosen()["fast"]


@pytest.mark.parametrize(
    ("student", "is_enough"),
    [
        ({}, False),
        ({"validation_fraction": 0.5}, False),
        ({"validation_fraction": 0.5, "accuracy_every_stages": 5}, True),
    ],
)
def test_a_choice_of_rates_needs_the_validation_accuracy(tmp_path, student, is_enough):
    config = config_of(tmp_path, student, learning_rates=[1e-3])
    if is_enough:
        check_comparison(config)
        return
    with pytest.raises(KpodError, match="are chosen by validation accuracy; set student"):
        check_comparison(config)


@pytest.mark.parametrize(("limit", "is_enough"), [(None, False), (2, True)])
def test_questions_of_a_file_are_drawn_only_with_a_limit(tmp_path, limit, is_enough):
    rows = [
        {
            "id": str(i),
            "question": f"{i} + 1?",
            "answer": str(i + 1),
            "rationale": f"{i} + 1 = {i + 1}.",
            "split": "test" if i > 5 else "train",
        }
        for i in range(8)
    ]
    path = write_lines(tmp_path / "q.jsonl", rows)
    questions = {"source": "file", "path": path, "limit": limit}
    config = config_of(tmp_path, resample="all").override({"questions": questions})
    if not is_enough:
        with pytest.raises(KpodError, match=r"resample=all draws questions\.limit"):
            check_comparison(config)
        return
    check_comparison(config)
    (one, test), (other, same) = drawn(config, 1), drawn(config, 2)
    assert (len(one), len(other), test) == (2, 2, same)
    assert one != other
