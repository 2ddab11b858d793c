"""Which questions each seed of a comparison draws."""

import pytest

from kpod_ray.comparison.trials import seed_overrides, trial_config
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.checks import check_comparison
from kpod_ray.questions.further import load_further_set
from kpod_ray.questions.loading import load_questions
from tests.comparison.comparisons import unrun_config
from tests.json_lines import write_lines


def drawn(config, seed):
    """Training and test questions of a seed of a comparison."""
    changed = config.override(seed_overrides(config, seed))
    questions = load_questions(changed.questions, changed.seed).questions
    return [[q.question for q in questions if q.split == split] for split in ("train", "test")]


@pytest.mark.parametrize("resample", ["order", "questions", "all"])
def test_a_seed_draws_new_training_questions_and_never_new_test_questions(tmp_path, resample):
    config = unrun_config(tmp_path, resample=resample)
    pairs = [drawn(config, seed) for seed in range(4)]
    base = load_questions(config.questions, config.seed).questions
    assert all(test == [q.question for q in base[6:]] for _, test in pairs)
    num_sets = len({tuple(train) for train, _ in pairs})
    assert num_sets == (1 if resample == "order" else 4)
    if resample == "order":
        assert pairs[0][0] == [q.question for q in base[:6]]


@pytest.mark.parametrize("resample", ["order", "questions", "all"])
def test_no_seed_draws_new_further_sets(tmp_path, resample):
    sets = {"longer": {"source": "arithmetic", "num_test": 3, "min_steps": 4}}
    config = unrun_config(tmp_path, resample=resample)
    config = config.override({"evaluation.also": sets})
    asked = set()
    for seed in range(3):
        changed = trial_config(config, "kpod", seed)
        source = changed.evaluation.also["longer"]
        asked.add(tuple(load_further_set("longer", source, changed.seed, []).questions))
    assert len(asked) == 1
    base = load_further_set("longer", config.evaluation.also["longer"], config.seed, [])
    assert asked == {tuple(base.questions)}


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
    config = unrun_config(tmp_path, resample="all").override({"questions": questions})
    if not is_enough:
        with pytest.raises(KpodError, match=r"resample=all draws questions\.limit"):
            check_comparison(config)
        return
    check_comparison(config)
    (one, test), (other, same) = drawn(config, 1), drawn(config, 2)
    assert (len(one), len(other), test) == (2, 2, same)
    assert one != other
