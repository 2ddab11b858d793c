"""Phase weigh on the tiny model: how many workers change nothing; what its manifest tells."""

import json
import os
import signal

import pytest
import torch

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.records import Question, Rationale, WeightedRationale
from kpod_ray.storage.artifacts import Store
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
    taught = store.artifact("teacher", 1, {}, [])
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
    artifact = store.artifact("weigh", 1, {"label": label}, [])
    return artifact, write_token_weights(config, taught, artifact, watch)


def token_weights(artifact):
    """All token weights, by question."""
    rows = WeightedRationale.from_table(artifact.read("weighted"))
    rows.sort(key=lambda row: row.question_id)
    return [weight for row in rows for weight in row.token_weights]


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
    assert [row["train_step"] for row in history] == [2, 4]
    assert manifest["best"] in history
    assert manifest["counts"]["rationales"] == 12
    quality = manifest["quality"]
    losses = {"highest_half_loss", "random_half_loss", "lowest_half_loss"}
    shares = {"auc", "keypoint_weight", "function_word_weight"}
    assert set(quality) == losses | shares
    assert all(quality[name] > 0 for name in losses)
    assert all(0 <= quality[name] <= 1 for name in shares)
    assert "warning" not in manifest


@pytest.mark.parametrize("prefixes", ["sampled", "all"])
def test_two_workers_learn_the_same_weighter_as_one(alone, inputs, prefixes):
    if prefixes == "sampled":
        one, told = alone
    else:
        one, told = weigh_here(inputs, "all", prefixes=prefixes)
    two, told_by_two = weigh(inputs, f"two {prefixes}", num_workers=2, prefixes=prefixes)
    # Not the parameters: the keys' bias has no gradient but rounding, which Adam makes large.
    ours, expected = (torch.tensor(token_weights(artifact)) for artifact in (two, one))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    for name, value in told["quality"].items():
        assert told_by_two["quality"][name] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize("step", [2, 5])  # of the adaptation, and of the weighter
def test_a_worker_that_gets_sigterm_changes_no_weight(alone, inputs, step):
    terminated, seen = [], []

    def terminate_once(metrics):
        if "validation_loss" not in metrics:
            seen.append(metrics["train_step"])
        if metrics["train_step"] == step and not terminated:
            terminated.append(training_processes()[-1])
            os.kill(terminated[0], signal.SIGTERM)

    config = config_of(inputs, {}).override({"resources.weighting.num_workers": 2})
    artifact, _ = _weighed(inputs, config, f"terminated {step}", terminate_once)
    assert terminated
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    ours, expected = (torch.tensor(token_weights(a)) for a in (artifact, alone[0]))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_a_collapse_is_told_and_the_best_weighter_before_it_is_kept(alone, inputs):
    settings = {"mask_ratio_weight": 1000, "num_train_steps": 60, "validate_every": 1}
    artifact, manifest = weigh_here(inputs, "collapse", learning_rate=3e-3, **settings)
    assert manifest["warning"].startswith("the weighter collapsed by train step")
    assert "nearly all tokens are masked" in manifest["warning"]
    assert manifest["best"]["kept_fraction"] > 0.04
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
    artifact = inputs[0].artifact("weigh", 1, {"label": label}, [])
    files = ["weighter.safetensors", *["adapted.safetensors"] * (owner == "predictor")]
    assert not any(artifact.store.exists(f"{artifact.folder}/{file}") for file in files)


def test_a_weighter_that_never_was_sound_is_told(alone, inputs):
    _, manifest = weigh_here(inputs, "flat", learning_rate=1e-9)
    assert manifest["warning"].startswith(
        "no weighter was sound in 4 train steps: all tokens weigh"
    )
    assert manifest["best"] is None


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
