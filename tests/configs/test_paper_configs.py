"""The paper's configs: each has the paper's numbers, and each family of student runs with them.

A config has a twin whose name ends in ``-literal``, with the paper's weighter and without boundary.
"""

import dataclasses
import json

import pytest
from safetensors.torch import load_file

from kpod_ray.config import LearnedWeighting, load
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.checks import check_backend
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import RunCallbacks, run_phases
from tests.conftest import REPOSITORY
from tests.training.training_runs import in_this_process, unkept_checkpoints

PAPER = REPOSITORY / "configs" / "paper"
SETS = ("gsm8k", "svamp", "asdiv", "commonsenseqa")
STUDENTS = ("llama-7b", "flan-t5-xl", "flan-t5-large")
WORKING = [f"{data}-{student}" for data in SETS for student in STUDENTS]
LITERAL = [f"{name}-literal" for name in WORKING]
FILES = [*WORKING, *LITERAL]

SMALL = [
    "questions={source: arithmetic, num_train: 6, num_test: 1, max_steps: 2}",
    "teacher={kind: reference}",
    "weighting.predictor=tiny-t5:1",
    "weighting.num_adapt_steps=1",
    "weighting.num_train_steps=1",
    "weighting.global_batch_size=2",
    "weighting.precision=fp32",
    "schedule.num_stages=1",
    "resources=null",
    "resources={train: {num_workers: 1, num_threads: 1}}",
    "tracking.mode=disabled",
    "evaluation.also=null",
]
"""What makes a config of the paper a matter of seconds; the rest of its settings stays."""


def small(name, storage):
    model = "tiny:0" if "llama" in name else "tiny-t5:0"
    return load(PAPER / f"{name}.yaml", [*SMALL, f"student.model={model}", f"storage={storage}"])


def test_there_are_two_files_for_every_data_set_and_student():
    assert sorted(path.stem for path in PAPER.glob("*.yaml")) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_config_has_the_papers_numbers(name):
    config = load(PAPER / f"{name}.yaml")
    is_llama, student, schedule = "llama" in name, config.student, config.schedule
    llama_stages = 20 if name.startswith(("gsm8k", "commonsenseqa")) else 40
    assert schedule.num_stages == (llama_stages if is_llama else 100)
    assert schedule.resolved_full_stage == schedule.num_stages // 2
    assert (schedule.growth, schedule.initial_fraction) == (0.5, 0.3)
    assert (schedule.diversity_weight, schedule.num_clusters) == (12, 5)
    assert student.learning_rate == (1e-5 if is_llama else 5e-5)
    assert student.lora.rank == (64 if is_llama else 128)
    assert (student.global_batch_size, student.template) == (4, "plain")
    assert (student.token_weights, student.target) == ("from_weighting", "rationale")
    assert not config.steps.split_newlines
    assert config.weighting.predictor == "google/flan-t5-large"


@pytest.mark.parametrize("name", LITERAL)
def test_a_literal_config_has_the_papers_weighter_and_no_boundary(name):
    config = load(PAPER / f"{name}.yaml")
    weighting = config.weighting
    assert (config.student.boundary, weighting.floor, weighting.num_seeds) == (False, None, 1)
    assert weighting.mask_ratio_weight == 0.5
    assert (weighting.mask, weighting.whole_fraction) == ("straight_through", 0)


@pytest.mark.parametrize("name", WORKING)
def test_a_config_that_works_differs_from_its_twin_in_weighter_and_boundary_alone(name):
    config, literal = (load(PAPER / f"{file}.yaml") for file in (name, f"{name}-literal"))
    settings, defaults = config.weighting.model_dump(), LearnedWeighting().model_dump()
    own = {"predictor", "precision", "num_adapt_steps", "num_train_steps", "global_batch_size"}
    assert {key for key in settings if settings[key] != defaults[key]} == own
    assert config.student.boundary
    same = {"name": config.name, "weighting": settings, "student.boundary": True}
    assert literal.override(same).model_dump() == config.model_dump()


@pytest.mark.parametrize("name", FILES)
def test_a_config_can_generate_with_its_students_family(tmp_path, name):
    check_backend(small(name, tmp_path))


@pytest.mark.slow
def test_one_stage_of_both_families_runs_from_questions_to_student(ray_cluster, tmp_path):
    runs = {name: open_run(small(name, tmp_path)) for name in FILES}
    runs = {
        name: dataclasses.replace(run, config=in_this_process(run.config, "weighting", "train"))
        for name, run in runs.items()
    }
    llama, t5 = runs["gsm8k-llama-7b-literal"], runs["gsm8k-flan-t5-xl"]
    steps = []
    callbacks = RunCallbacks(
        lambda phase, row: steps.append((phase, row)), print, print, print, print, print
    )
    with unkept_checkpoints():
        for run in (llama, t5):
            run_phases(run, "train", callbacks)
    assert [row["loss"] > 0 for phase, row in steps if phase == "train"] == [True] * 4
    for run in (llama, t5):
        folder = f"{run.store.root}/{run.artifacts['train'].folder}/student"
        trained = load_file(f"{folder}/model.safetensors")
        untrained = load_file(f"{model_folder(run.config.student.model)}/model.safetensors")
        changed = {name for name in trained if not trained[name].equal(untrained[name])}
        assert changed
        assert all(".layers." in name or ".block." in name for name in changed)  # adapters alone
        assert trained.keys() == untrained.keys()
        decisions = json.loads(
            run.store.read_text(f"{run.artifacts['train'].folder}/decisions.json")
        )
        assert sorted(decisions) == ["1"]
    # The other files train the same way: what differs in them is data, epochs, rank and weighter.
    for name, run in runs.items():
        same = llama if "llama" in name else t5
        has_same_weighter = name.endswith("-literal") == (same is llama)
        weighed = ("weigh", "assess", "plan") if has_same_weighter else ()
        for phase in ("questions", "teacher", *weighed):
            assert run.artifacts[phase] == same.artifacts[phase]
