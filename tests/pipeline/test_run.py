import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from kpod_ray.cli.main import main
from kpod_ray.config import load
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run import run_phases
from kpod_ray.records import (
    Prediction,
    Question,
    Rationale,
    StageRow,
    StepDifficulty,
    WeightedRationale,
)
from kpod_ray.tracking.wandb_upload import send
from tests.fixtures.finished_run import SMOKE, Notes
from tests.json_lines import write_lines
from tests.tracking.wandb_server import FAKE_KEY, WandbServer


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_phase_runs_once_and_its_counts_add_up(finished):
    run, notes = finished
    assert notes.started == list(run.artifacts)
    questions = Question.from_table(run.artifacts["questions"].read("questions"))
    training = {question.id for question in questions if question.split == "train"}
    teacher = notes.manifests["teacher"]
    assert teacher["counts"]["samples"] == 2 * len(training) == 24
    assert sum(teacher["verdicts"].values()) == 24 + teacher["verdicts"]["reference"]
    rationales = Rationale.from_table(run.artifacts["teacher"].read("rationales"))
    rejects = Rationale.from_table(run.artifacts["teacher"].read("rejects"))
    assert {row.question_id for row in rationales} == training
    assert len({row.id for row in [*rationales, *rejects]}) == sum(teacher["verdicts"].values())
    weighted = WeightedRationale.from_table(run.artifacts["weigh"].read("weighted"))
    assert {row.question_id for row in weighted} == training
    for row in weighted:
        assert len(row.token_starts) == len(row.token_ends) == len(row.token_weights)
        assert all(0 < weight < 1 for weight in row.token_weights)
        assert row.step_starts[0] == 0
        assert row.step_ends[-1] == len(row.text)
    difficulties = StepDifficulty.from_table(run.artifacts["assess"].read("difficulties"))
    steps = {row.question_id: len(row.step_starts) for row in weighted}
    assert {row.question_id: len(row.step_difficulties) for row in difficulties} == steps
    assert all(d > 0 for row in difficulties for d in row.step_difficulties)


@pytest.mark.slow
def test_the_schedule_covers_every_question_and_stage(finished):
    run, _ = finished
    rows = StageRow.from_table(run.artifacts["plan"].read("schedule"))
    given = {(row.question_id, row.stage): row.num_given_steps for row in rows}
    ids = {row.question_id for row in rows}
    assert len(given) == len(rows) == len(ids) * (run.config.schedule.num_stages + 1)
    for question_id in ids:
        stages = [given[question_id, stage] for stage in range(5)]
        assert stages == sorted(stages, reverse=True)
        assert stages[3:] == [0, 0]


@pytest.mark.slow
def test_training_is_watched_and_decided_by_the_scheduler(finished):
    run, notes = finished
    steps = {
        name: [n for phase, n in notes.train_steps if phase == name] for name in ("weigh", "train")
    }
    assert steps["train"] == list(range(1, 13))
    weighting = run.config.weighting
    num_steps = weighting.num_adapt_steps + weighting.num_train_steps
    assert sorted(set(steps["weigh"])) == list(range(1, weighting.num_seeds * num_steps + 1))
    artifact = run.artifacts["train"]
    decisions = json.loads(run.store.read_text(f"{artifact.folder}/decisions.json"))
    assert sorted(decisions) == ["1", "2", "3", "4"]
    assert all(entry["plan"] == run.artifacts["plan"].folder for entry in decisions.values())
    assert decisions["4"]["statistics"]["train_steps"] == 3


@pytest.mark.slow
def test_the_student_is_an_ordinary_model_folder(finished):
    run, _ = finished
    folder = run.store.address(f"{run.artifacts['train'].folder}/student")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template
    card = Path(folder, "README.md").read_text()
    manifest = run.artifacts["train"].manifest()
    assert f"| tokens | {manifest['counts']['tokens']:,}, " in card


@pytest.mark.slow
def test_the_schedule_of_a_finished_run_is_shown(finished, capsys):
    run, _ = finished
    with pytest.raises(SystemExit) as ended:
        main(["show", run.store.address(run.folder), "schedule"])
    assert ended.value.code == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "finished" in line]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]


@pytest.mark.slow
def test_both_students_answer_every_test_question(finished):
    run, notes = finished
    for name in ("evaluate_before", "evaluate"):
        predictions = Prediction.from_table(run.artifacts[name].read("predictions"))
        assert len({row.question_id for row in predictions}) == 4
        accuracy = notes.manifests[name]["accuracy"]
        assert accuracy["value"] == sum(row.is_correct for row in predictions) / 4
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    before, after = (
        [row.text for row in Prediction.from_table(run.artifacts[name].read("predictions"))]
        for name in ("evaluate_before", "evaluate")
    )
    assert before != after


@pytest.mark.slow
def test_the_report_is_there(finished):
    run, _ = finished
    page = run.store.read_text(f"{run.folder}/report.html")
    assert page.lower().startswith("<!doctype html>")
    assert "smoke" in page


@pytest.mark.slow
def test_a_second_run_does_nothing_again(finished):
    run, notes = finished
    again = Notes()
    run_phases(open_run(run.config), "report", again.callbacks())
    assert again.started == []
    assert again.manifests == notes.manifests


@pytest.mark.slow
def test_a_finished_run_is_told_to_wandb_without_a_phase_run_again(finished, monkeypatch, tmp_path):
    run, _ = finished
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))
    settings = [f"storage={run.store.root}", "tracking={mode: offline, group: sweep-1}"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(SMOKE), *settings])
    assert not ended.value.code
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert send(Path(run.store.root)).startswith("sent 1 W&B file")
    ((run_id, told),) = server.runs.items()
    summary = server.summary[run_id]
    assert told["groupName"] == "sweep-1"
    assert summary["outcome/accuracy"] == run.artifacts["evaluate"].manifest()["accuracy"]["value"]
    assert summary["phase/teacher/samples"] == 24
    assert 0 <= summary["outcome/keypoint_share"] <= 1
    shown = {name.split("/")[-1].split("_")[0] for name in server.files if "media/" in name}
    assert {"predictions", "rejects", "rationales", "report", "given"} <= shown
    phases = {row["artifactTypeName"] for row in server.artifacts} - {"run_table"}
    assert phases == {name.removesuffix("_before") for name in run.artifacts}


@pytest.mark.parametrize(
    ("override", "unchanged"),
    [
        ("schedule.diversity_weight=1", ["questions", "teacher", "weigh", "assess"]),
        ("student.learning_rate=1", ["questions", "teacher", "weigh", "assess", "plan"]),
        ("weighting.num_train_steps=9", ["questions", "teacher"]),
        ("teacher.samples.per_question=1", ["questions"]),
        ("evaluation.limit=2", ["questions", "teacher", "weigh", "assess", "plan", "train"]),
        (
            "evaluation.also={more: {source: arithmetic}}",
            ["questions", "teacher", "weigh", "assess", "plan", "train", "evaluate"],
        ),
        ("questions.num_train=11", []),
    ],
)
def test_a_setting_changes_its_own_phase_and_those_after_it(tmp_path, override, unchanged):
    storage = f"storage={tmp_path}"
    before = open_run(load(SMOKE, [storage])).artifacts
    after = open_run(load(SMOKE, [storage, override])).artifacts
    same = [name for name in before if before[name] == after[name]]
    assert [name for name in same if name != "evaluate_before"] == unchanged


def test_where_a_run_takes_place_changes_no_artifact(tmp_path):
    before = open_run(load(SMOKE, [f"storage={tmp_path}"])).artifacts
    elsewhere = ["resources.train.num_workers=8", "tracking.mode=offline", "name=other"]
    after = open_run(load(SMOKE, [f"storage={tmp_path}", *elsewhere])).artifacts
    assert before == after


def test_no_rationale_left_is_said_so(ray_cluster, tmp_path):
    row = {"id": "arith-train-00000", "rationale": "The answer is -1."}
    rationales = write_lines(tmp_path / "rationales.jsonl", [row])
    teacher = f"teacher={{kind: file, path: {rationales}}}"
    run = open_run(load(SMOKE, [f"storage={tmp_path / 'store'}", teacher]))
    with pytest.raises(KpodError, match="no rationale is left"):
        run_phases(run, "teacher", Notes().callbacks())
