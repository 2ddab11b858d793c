"""Phase weigh on the tiny model: how many workers change nothing; what its manifest tells."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from kpod_ray.config import LearnedWeighting, RunConfig
from kpod_ray.data.examples import encode_with_spans
from kpod_ray.errors import KpodError
from kpod_ray.models.safetensors_state import fetch_module
from kpod_ray.models.sources import model_folder
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.weighting.model import build_weighter
from kpod_ray.weighting.phase import write_token_weights
from tests.training.training_runs import (
    in_this_process,
    training_processes,
    unkept_checkpoints,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Twelve questions with a rationale each, in a store."""
    store = Store.open(str(tmp_path_factory.mktemp("storage")))
    questions, rationales = [], []
    for i in range(12):
        text = f"He has {i} eggs and gets 2 more. So {i} + 2 = {i + 2}."
        questions.append(Question(f"q{i}", f"{i} and 2?", str(i + 2), "number", (), "train", ""))
        answer = str(i + 2)
        rationales.append(Rationale(f"q{i}/0", f"q{i}", 0, text, "t", "stop", 0, answer, "kept"))
    taught = Artifact.of(store, "teacher", 1, {}, [])
    taught.write("rationales", Rationale.to_table(rationales))
    taught.write("questions", Question.to_table(questions))
    return store, taught


def weigh(inputs, label, num_workers=1, **weighting):
    """Run the phase; return its artifact and its manifest."""
    config = config_of(inputs, weighting).override({"resources.weighting.num_workers": num_workers})
    return _weighed(inputs, config, label)


def weigh_here(inputs, label, **weighting):
    """Run the phase, its training in this process; return its artifact and its manifest."""
    with unkept_checkpoints():
        return _weighed(inputs, in_this_process(config_of(inputs, weighting), "weighting"), label)


def config_of(inputs, weighting):
    return RunConfig.model_validate(
        {
            "name": "t",
            "storage": inputs[0].root,
            "teacher": {"kind": "file", "path": "-"},
            "student": {"model": "tiny:0"},
            "resources": {"weighting": {"num_threads": 1}},
            "weighting": {
                "num_seeds": 2,
                "num_adapt_steps": 3,
                "num_train_steps": 4,
                "learning_rate": 1e-2,
                "adapt_learning_rate": 1e-3,
                "global_batch_size": 4,
                "validate_every": 2,
                "max_validation": 3,
                "validation_fraction": 0.25,
                "floor": None,
                **weighting,
            },
        }
    )


def _weighed(inputs, config, label, watch=lambda metrics: None):
    store, taught = inputs
    artifact = Artifact.of(store, "weigh", 1, {"label": label}, [])
    return artifact, write_token_weights(config, taught, artifact, watch)


def token_weights(artifact):
    """All token weights, by question."""
    rows = WeightedRationale.from_table(artifact.read("weighted"))
    rows.sort(key=lambda row: row.question_id)
    return [weight for row in rows for weight in row.token_weights]


def learned_weights(artifact, num_weighters):
    """The weights of each weighter before they become ranks, which jump where weights swap."""
    config = LearnedWeighting()
    language_model = load_student(model_folder("tiny:0"), torch.float32).language_model
    weights = []
    for index in range(num_weighters):
        weighter = build_weighter(language_model, config)
        fetch_module(weighter, artifact.store, f"{artifact.folder}/weighter-{index}.safetensors")
        for row in WeightedRationale.from_table(artifact.read("weighted")):
            ids = torch.tensor([encode_with_spans(load_tokenizer("tiny:0"), row.text)[0]])
            weights.append(weighter.token_weights(ids, torch.ones_like(ids, dtype=torch.bool))[0])
    return torch.cat(weights)


@pytest.fixture(scope="module")
def alone(ray_cluster, inputs):
    return weigh(inputs, "alone")


def test_every_token_of_every_rationale_is_weighed(alone):
    rows = WeightedRationale.from_table(alone[0].read("weighted"))
    assert len(rows) == 12
    for row in rows:
        assert len(row.token_weights) == len(row.text)  # a byte a token
        assert all(0 < weight < 1 for weight in row.token_weights)


def test_the_manifest_tells_the_best_train_step_and_the_quality(alone):
    artifact, manifest = alone
    history = json.loads(artifact.store.read_text(f"{artifact.folder}/history.json"))
    steps = [(row["weighter"], row["train_step"]) for row in history]
    assert steps == [(0, 2), (0, 4), (1, 2), (1, 4)]
    assert len(manifest["best"]) == 2
    assert all(best in history for best in manifest["best"])
    assert manifest["counts"]["rationales"] == 12
    quality = manifest["quality"]
    losses = {"highest_half_loss", "random_half_loss", "lowest_half_loss"}
    losses |= {f"missing_{k}_loss" for k in range(2)}
    gains = {f"missing_{k}_gain" for k in range(2)}
    shares = {"auc", "keypoint_weight", "function_word_weight"}
    # No rationale has more than two steps.
    unknown = {f"missing_{k}_{name}" for k in (2, 3) for name in ("loss", "gain")}
    assert set(quality) == losses | gains | shares | unknown
    assert all(quality[name] > 0 for name in losses)
    assert all(0 <= quality[name] <= 1 for name in shares)
    assert all(quality[name] is None for name in unknown)


def test_prefixes_that_help_no_more_than_nothing_are_told(alone):
    _, manifest = alone
    useless = [k for k in range(2) if manifest["quality"][f"missing_{k}_gain"] <= 0]
    assert useless  # a random model learns nothing in three train steps
    names = ["whole", "without their last 1 steps"]
    expected = ", ".join(names[k] for k in useless)
    assert manifest["warning"].startswith(f"rationales {expected} teach the weighter nothing")


def test_prefixes_are_read_if_they_help_the_predictor_or_if_settings_say_so(alone, inputs):
    history = json.loads(alone[0].store.read_text(f"{alone[0].folder}/history.json"))
    gain = alone[1]["quality"]["missing_1_gain"]  # of the last weighter's predictor
    assert history[-1]["whole_fraction"] == (0.5 if gain > 0 else 1)
    artifact, _ = weigh_here(inputs, "prefixes", whole_fraction=0.25, num_seeds=1)
    history = json.loads(artifact.store.read_text(f"{artifact.folder}/history.json"))
    assert {row["whole_fraction"] for row in history} == {0.25}


def test_the_weights_of_several_weighters_are_mean_ranks(alone):
    weights = np.array(token_weights(alone[0]))
    # Two rankings of N tokens: their mean is a multiple of 1 / (4 N), and the overall mean is 1/2.
    assert weights.mean() == pytest.approx(0.5, abs=1e-6)
    multiples = 4 * len(weights) * weights
    np.testing.assert_allclose(multiples, multiples.round(), atol=1e-2)


def test_the_files_of_the_training_are_gone_and_the_weighters_stay(alone):
    artifact, _ = alone
    names = {name.split("/")[-1] for name in artifact.store.files(artifact.folder)}
    assert {"weighter-0.safetensors", "weighter-1.safetensors"} <= names
    assert not any(name.startswith(("adapted", "progress")) for name in names)


@pytest.mark.parametrize("prefixes", ["sampled", "all"])
def test_two_workers_learn_the_same_weighter_as_one(alone, inputs, prefixes):
    # A single weighter: the quality of mean ranks jumps where weights that differ by rounding swap.
    settings = {"prefixes": prefixes, "num_seeds": 1}
    one, told = weigh_here(inputs, f"one {prefixes}", **settings)
    two, told_by_two = weigh(inputs, f"two {prefixes}", num_workers=2, **settings)
    # Not the parameters: the keys' bias has no gradient but rounding, which Adam makes large.
    ours, expected = (learned_weights(artifact, 1) for artifact in (two, one))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    for name, value in told["quality"].items():
        assert told_by_two["quality"][name] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("step", [5, 9])  # of the first weighter, and of the second adaptation
def test_a_worker_that_gets_sigterm_changes_no_weight(alone, inputs, step):
    terminated, seen, validated = [], [], []

    def terminate_once(metrics):
        (validated if "validation_loss" in metrics else seen).append(metrics["train_step"])
        assert metrics["num_train_steps"] == 14
        if metrics["train_step"] == step and not terminated:
            terminated.append(training_processes()[-1])
            os.kill(terminated[0], signal.SIGTERM)

    config = config_of(inputs, {}).override({"resources.weighting.num_workers": 2})
    artifact, _ = _weighed(inputs, config, f"terminated {step}", terminate_once)
    assert terminated
    assert seen == list(range(1, 15))
    assert validated == [5, 7, 12, 14]  # after two adaptations of three steps, and every two steps
    ours, expected = (learned_weights(a, 2) for a in (artifact, alone[0]))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_a_collapse_is_told_and_the_best_weighter_before_it_is_kept(alone, inputs):
    settings = {"mask_ratio_weight": 1000, "num_train_steps": 60, "validate_every": 1}
    settings["num_seeds"] = 1
    artifact, manifest = weigh_here(inputs, "collapse", learning_rate=3e-3, **settings)
    assert "weighter 0 collapsed by train step" in manifest["warning"]
    assert "nearly all tokens are masked" in manifest["warning"]
    assert manifest["best"][0]["kept_fraction"] > 0.04
    weights = token_weights(artifact)
    assert sum(weights) / len(weights) > 0.04


@pytest.mark.parametrize(
    ("settings", "owner"),
    [
        ({"learning_rate": 1e37, "num_train_steps": 1}, "weighter"),
        ({"adapt_learning_rate": 1e38, "num_adapt_steps": 1}, "predictor"),
    ],
)
def test_a_destroyed_model_is_no_weighter(alone, inputs, settings, owner):
    label = f"destroyed {owner}"
    with pytest.raises(KpodError) as raised:
        weigh_here(inputs, label, **settings)
    name = "learning_rate" if owner == "weighter" else "adapt_learning_rate"
    assert str(raised.value) == (f"the {owner}'s parameters aren't finite; lower weighting.{name}")
    artifact = Artifact.of(inputs[0], "weigh", 1, {"label": label}, [])
    files = ["weighter-0.safetensors", *["adapted-0.safetensors"] * (owner == "predictor")]
    assert not any(artifact.store.exists(f"{artifact.folder}/{file}") for file in files)


def test_a_weighter_that_never_was_sound_is_told(alone, inputs):
    _, manifest = weigh_here(inputs, "flat", learning_rate=1e-9)
    for index in (0, 1):
        assert (
            f"weighter {index} was never sound in 4 train steps: all tokens weigh"
            in manifest["warning"]
        )
    assert manifest["best"] == [None, None]


def test_bf16_arithmetic_with_every_other_setting_runs(alone, inputs):
    artifact, manifest = weigh_here(
        inputs,
        "others",
        floor=0.2,
        precision="bf16",
        mask="straight_through",
        mask_position="after_attention",
        final_temperature=0.3,
        predictor="tiny-t5:1",
    )
    assert manifest["quality"]["highest_half_loss"] > 0
    weights = token_weights(artifact)
    assert sum(weights) / len(weights) == pytest.approx(
        0.6
    )  # weights by rank: the middle of .2 and 1
    assert min(weights) >= 0.2


def test_more_workers_than_rationales_of_a_train_step_are_an_error(ray_cluster, inputs):
    with pytest.raises(KpodError, match=r"resources\.weighting\.num_workers=5 is more"):
        weigh(inputs, "too many", num_workers=5)
