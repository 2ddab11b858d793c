"""``kpod run --dry-run``: every phase with its work, and what is missing; nothing is done."""

import io

import pytest

from kpod_ray.cli.forecast import print_forecast
from kpod_ray.cli.main import main
from kpod_ray.cli.terminal import Terminal
from kpod_ray.config import load
from kpod_ray.inference.endpoint.costs import CostEstimate
from kpod_ray.pipeline.forecast.estimates import Amount, Measured
from kpod_ray.pipeline.forecast.forecast import Forecast, PhaseForecast, Place
from kpod_ray.pipeline.forecast.work import Work
from kpod_ray.pipeline.naming import name_run
from tests.cli.refusals import refused
from tests.cli.shown_runs import snapshot
from tests.conftest import REPOSITORY

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")


def dry(capsys, *arguments):
    """Return exit code and lines of a dry run."""
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments), "--dry-run"])
    printed = capsys.readouterr()
    assert not printed.err
    return ended.value.code or 0, printed.out.splitlines()


def test_every_phase_is_told_and_nothing_is_written(capsys, storage, tmp_path):
    before = snapshot(tmp_path)
    code, lines = dry(capsys, SMOKE, storage)
    text = "\n".join(lines)
    assert code == 0
    names = [line.split()[0] for line in lines if " to do " in line]
    assert names == list(name_run(load(SMOKE, [storage])).artifacts)
    assert "teacher              to do     tiny:0 by vLLM" in text
    assert "24 requests, " in text
    assert "at most 384 generated tokens" in text
    assert "1 actor of 1 CPU: fits" in text
    assert "2 workers of 1 CPU: fits" in text
    assert "12 train steps of 4 rationales, in 4 stages" in text
    assert "missing" not in text
    reason = "no finished run in this storage did the same work"
    assert lines[-2] == f"time in all: not known, {reason}"
    assert lines[-1] == "costs: those of the machines; no endpoint is asked"
    assert snapshot(tmp_path) == before


def test_phases_after_the_last_one_are_left_out(capsys, storage):
    _, lines = dry(capsys, SMOKE, storage, "--until", "weigh")
    assert [line.split()[0] for line in lines if " to do " in line] == [
        "questions",
        "teacher",
        "weigh",
    ]


def test_a_gpu_config_on_a_machine_without_hub_and_gpu_names_each_in_a_line(capsys, storage):
    """Tests don't ask the hub (`HF_HUB_OFFLINE`)."""
    config = REPOSITORY / "configs" / "gpu-24gb.yaml"
    code, lines = dry(capsys, config, storage)
    missing = [line for line in lines if line.startswith("missing ")]
    assert code == 1
    for word in ("model Qwen/Qwen3-8B: neither", "model Qwen/Qwen3-0.6B: neither"):
        assert sum(word in line for line in missing) == 1
    assert sum("data set 'openai/gsm8k' can't be loaded" in line for line in missing) == 1
    groups = ("teacher", "weighting", "apply_weighter", "assess", "train", "evaluate")
    for group in groups:
        (line,) = (line for line in missing if f"resources.{group}:" in line)
        assert "1 GPU on one node, the largest node has" in line
    assert len(missing) == 3 + len(groups)
    text = "\n".join(lines)
    assert "teacher              to do     Qwen/Qwen3-8B by vLLM" in text
    assert "requests: not known" in text
    assert "1 actor of 1 CPU and 1 GPU: doesn't fit" in text


def test_an_autoscaling_cluster_may_lack_nodes(capsys, storage):
    settings = (storage, "resources.train.num_gpus=1", "resources.autoscaling=true")
    code, lines = dry(capsys, SMOKE, *settings)
    assert code == 0
    assert any("1 GPU: doesn't fit" in line for line in lines)


def test_what_is_finished_and_how_long_it_took_is_told(capsys, storage, tmp_path):
    config = load(SMOKE, [storage])
    run = name_run(config)
    manifest = {"is_resumed": False, "config": run.config.model_dump()}
    counts = {"generated": 24, "samples": 24, "prompt_tokens": 9, "tokens": 9, "questions": 12}
    teacher = {"counts": counts, "verdicts": {"reference": 12}, "seconds": 48.0}
    run.artifacts["teacher"].finish({**manifest, **teacher})
    (tmp_path / "store" / run.artifacts["train"].folder).mkdir(parents=True)
    _, lines = dry(capsys, SMOKE, storage)
    (finished,) = (line for line in lines if line.startswith("teacher "))
    assert finished.split(maxsplit=2)[1:] == [
        "finished",
        "generated 24, samples 24, prompt tokens 9, tokens 9, questions 12, reference 12",
    ]
    assert any(line.startswith("train                begun ") for line in lines)
    _, lines = dry(capsys, SMOKE, storage, "questions.num_train=24")
    assert any(f"{run.artifacts['teacher'].folder} took 48.0 s for 24" in line for line in lines)
    (time,) = (line for line in lines if line.startswith("time in all: "))
    assert time.startswith("time in all: at most about 1 min 36 s, without 7 of 8 phases: ")


def test_what_can_not_be_named_is_told_without_a_table(capsys, storage, tmp_path):
    gone = f"questions={{source: file, path: {tmp_path / 'gone.jsonl'}, test_fraction: 0.5}}"
    code, lines = dry(capsys, SMOKE, storage, gone, "teacher.model=/no/model")
    missing = [line for line in lines if line.startswith("missing ")]
    assert code == 1
    assert any("gone.jsonl doesn't exist" in line for line in missing)
    assert any("/no/model" in line for line in missing)
    assert not any(" to do " in line for line in lines)


def test_a_storage_that_can_not_be_written_is_told(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, lines = dry(capsys, SMOKE, f"storage={tmp_path / 'file' / 'store'}")
    assert code == 1
    assert any(line.startswith("missing ") and "can't be written" in line for line in lines)


def test_a_wrong_setting_is_refused_as_in_a_run(capsys, storage):
    assert "lerning_rate" in refused(capsys, "run", SMOKE, "student.lerning_rate=1", "--dry-run")
    assert "unknown phase" in refused(capsys, "run", SMOKE, "--dry-run", "--until", "trian")


def test_doctor_prints_the_same_lines(capsys, storage, ray_cluster):
    endpoint = "teacher={kind: endpoint, model: m, base_url: 'http://h/v1', price: {output: 9}}"
    _, lines = dry(capsys, SMOKE, storage, endpoint)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", SMOKE, storage, endpoint])
    assert not ended.value.code
    table = lines[next(i for i, line in enumerate(lines) if " to do " in line) :]
    assert "\n".join(table) in capsys.readouterr().out
    assert any(line.startswith("costs: 12 requests: about ") for line in table)


def printed(*phases):
    out = io.StringIO()
    print_forecast(Forecast(phases, []), Terminal(file=out, width=80))
    return out.getvalue().splitlines()


def test_lines_of_a_phase_that_is_known_in_full():
    work = Work(
        "m by http://h/v1",
        [(Amount(12), "requests"), (None, "prompt tokens"), (Amount(9, True), "generated tokens")],
        Amount(12),
        ["3 samples are there already"],
        CostEstimate(12, 40.0, 0.5, 1.0),
        has_price=True,
    )
    places = [Place("1 actor of 1 CPU", True), Place("2 workers of 1 CPU", None)]
    measured = [Measured(3, 9.0, "teacher/a"), Measured(6, 12.5, "teacher/b")]
    seconds = Amount(3725, is_rough=True)
    phase = PhaseForecast("teacher", None, False, work, places, seconds, measured)
    blank = " " * 21
    assert printed(phase) == [
        "teacher              to do     m by http://h/v1",
        f"{blank}where     1 actor of 1 CPU: fits; then 2 workers of 1 CPU: the nodes aren't known",
        f"{blank}how much  12 requests, prompt tokens: not known, at most 9 generated tokens",
        f"{blank}          3 samples are there already",
        f"{blank}time      about 1 h 02 min: teacher/b took 12.5 s for 6 and 1 more",
        f"{blank}costs     12 requests: about 0.50, at most 1.00, in the currency of teacher.price",
        "time in all: about 1 h 02 min",
        "costs: 12 requests: about 0.50, at most 1.00, in the currency of teacher.price",
    ]


def test_an_endpoint_without_prices_has_no_known_costs():
    work = Work("m", cost=CostEstimate(12, 40.0, 0.0, 0.0))
    lines = printed(PhaseForecast("teacher", None, work=work))
    assert lines[-1] == "costs: 12 requests: not known, teacher.price isn't set"


def test_a_finished_run_has_nothing_to_do():
    lines = printed(PhaseForecast("questions", {"counts": {"train": 12, "test": 0}}))
    assert lines == ["questions            finished  train 12", "nothing is to do"]
