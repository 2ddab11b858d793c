import re

import pytest

from kpod_ray.cli.main import main
from tests.cli.refusals import refused
from tests.conftest import REPOSITORY
from tests.json_lines import write_lines

SMOKE = str(REPOSITORY / "configs" / "smoke.yaml")
ROWS = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(6)]


def questions_file(tmp_path, lines):
    path = write_lines(tmp_path / "questions.jsonl", lines)
    return f"questions={{source: file, path: {path}, test_fraction: 0.5}}"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("student.lerning_rate=1", ["student.lerning_rate", "learning_rate"]),
        ("student.learning_rate=-1", ["student.learning_rate", "greater than 0"]),
        ("student.model=/nowhere/model", ["/nowhere/model", "no such model folder"]),
        ("student.model=nobody/nothing", ["nobody/nothing", "hub"]),
        ("teacher.model=packaged:nothing", ["packaged:nothing", "SmolLM2-135M-Instruct"]),
        ("teacher={kind: file, path: /nowhere.jsonl}", ["/nowhere.jsonl", "doesn't exist"]),
        ("questions={source: file, path: /nowhere.jsonl}", ["/nowhere.jsonl", "doesn't exist"]),
        ("questions.num_test=0", ["no test question"]),
        ("name=../elsewhere", ["name", "../elsewhere"]),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(capsys, storage, override, words):
    line = refused(capsys, "run", SMOKE, storage, override)
    for word in words:
        assert word in line


def test_a_missing_config_is_one_line(capsys):
    assert "nowhere.yaml" in refused(capsys, "run", "nowhere.yaml")


def test_a_broken_line_is_named(capsys, storage, tmp_path):
    questions = questions_file(tmp_path, [*ROWS[:2], '{"id": "q2", ', *ROWS[3:]])
    line = refused(capsys, "run", SMOKE, storage, questions)
    assert "questions.jsonl line 3" in line


def test_a_question_without_an_answer_is_named(capsys, storage, tmp_path):
    questions = questions_file(tmp_path, [*ROWS[:3], {"id": "q3", "question": "Why?"}, *ROWS[4:]])
    line = refused(capsys, "run", SMOKE, storage, questions)
    assert "line 4" in line
    assert "answer" in line


def test_duplicate_ids_are_named(capsys, storage, tmp_path):
    questions = questions_file(tmp_path, [*ROWS, ROWS[1]])
    line = refused(capsys, "run", SMOKE, storage, questions)
    assert "q1" in line
    assert "line 7" in line
    assert "line 2" in line


def test_a_storage_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused(capsys, "run", SMOKE, f"storage={tmp_path / 'file' / 'store'}")
    assert "can't be written" in line


def test_more_gpus_than_the_cluster_has_are_refused(capsys, storage, ray_cluster):
    line = refused(capsys, "run", SMOKE, storage, "resources.teacher.num_gpus=2")
    assert "resources.teacher: an actor needs 1 CPU and 2 GPUs on one node" in line
    assert "6 CPUs and 0 GPUs" in line


def test_a_label_is_no_expression(capsys, storage):
    line = refused(capsys, "run", SMOKE, storage, "resources.train.labels={group: in(a)}")
    assert "resources.train.labels.group" in line


def test_debug_shows_the_traceback(storage):
    from kpod_ray.errors import KpodError

    with pytest.raises(KpodError, match="learning_rate"):
        main(["--debug", "run", SMOKE, storage, "student.learning_rate=-1"])


def test_a_run_ends_after_the_phase_asked_for(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(["run", SMOKE, "--until", "questions", f"storage={tmp_path}"])
    assert not caught.value.code
    assert re.search(r"questions [0-9.]+ s: train 12, test 4\n", capsys.readouterr().out)
    assert [folder.name for folder in (tmp_path / "questions").iterdir()]
    assert not (tmp_path / "teacher").exists()


def test_an_unknown_phase_is_named_with_the_nearest_before_the_config_is_read(capsys):
    line = refused(capsys, "run", "nowhere.yaml", "--until", "trian")
    assert "unknown phase 'trian', did you mean train? (there are questions, teacher," in line


def test_doctor_names_what_a_config_lacks(capsys, tmp_path, ray_cluster):
    with pytest.raises(SystemExit) as caught:
        main(["doctor", SMOKE, f"storage={tmp_path}", "resources.train.num_gpus=4"])
    out = capsys.readouterr().out
    assert caught.value.code == 1
    assert "missing" in out
    assert "2 workers of 1 CPU and 4 GPUs; resources.train: a worker needs" in out
    with pytest.raises(SystemExit) as caught:
        main(["doctor", SMOKE, f"storage={tmp_path}"])
    assert not caught.value.code
    assert "missing" not in capsys.readouterr().out


def test_doctor_estimates_what_an_endpoint_costs(capsys, tmp_path, ray_cluster):
    teacher = "{kind: endpoint, model: m, base_url: 'http://h/v1', max_new_tokens: 100, "
    teacher += "price: {output: 1000}, samples: {per_question: 2}}"
    settings = [f"storage={tmp_path}", f"teacher={teacher}", "questions.num_train=50"]
    with pytest.raises(SystemExit) as caught:
        main(["doctor", SMOKE, *settings])
    assert not caught.value.code
    assert "100 requests: about 5.00, at most 10.00" in capsys.readouterr().out
