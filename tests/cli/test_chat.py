"""``kpod chat``: what it prints, how it ends, and what it refuses."""

import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time

import pytest

from kpod_ray.cli.chat_answers import print_answers, shown_steps
from kpod_ray.cli.main import main
from kpod_ray.cli.terminal import Terminal
from kpod_ray.records import Prediction, Question
from tests.cli.refusals import refused
from tests.cli.shown_runs import snapshot
from tests.conftest import REPOSITORY
from tests.pipeline.chat_runs import QUESTIONS, SMOKE, chat_run

TEXT = "Bo has 2 pens. He gets 2 more, so 2 + 2 = 4.\nTherefore, the answer is 4."
GREEN_PENS = "Bo has 9 green pens. He has no others."


def prediction(text, answer, reason="stop", gold="4"):
    return Prediction("test-1", text, reason, 12, answer, gold, answer == gold)


def printed(width, predictions, question=QUESTIONS[1]):
    out = io.StringIO()
    print_answers(question, predictions, True, Terminal(file=out, width=width))
    return out.getvalue()


PAIR = (prediction(GREEN_PENS, "9"), prediction(TEXT, "4"))


def test_the_steps_of_a_text_are_numbered_and_the_closing_is_not():
    steps = shown_steps(prediction(TEXT, "4"), True)
    assert steps == [
        ("1", "Bo has 2 pens."),
        ("2", "He gets 2 more, so 2 + 2 = 4."),
        ("", "Therefore, the answer is 4."),
    ]
    lines = "One line\nand one more"
    assert shown_steps(prediction(lines, "1"), False) == [("1", lines)]
    assert [text for _, text in shown_steps(prediction(lines, "1"), True)] == lines.split("\n")
    assert shown_steps(prediction("", ""), True) == []
    assert shown_steps(prediction("too long", "", "error"), True) == [("", "too long")]


def test_answers_stand_side_by_side_on_100_columns_and_below_each_other_on_fewer():
    wide, narrow = (printed(width, PAIR) for width in (100, 99))
    assert re.search(r"untouched student +distilled student", wide)
    assert re.search(r"1 Bo has 9 green pens\. +1 Bo has 2 pens\.", wide)
    assert narrow.index("He has no others.") < narrow.index("distilled student")
    assert max(map(len, wide.splitlines())) <= 100
    assert max(map(len, printed(80, PAIR).splitlines())) <= 80


def test_the_extracted_answer_is_compared_with_the_gold_answer_of_a_known_question():
    for text in (printed(120, PAIR), printed(80, PAIR)):
        assert text.startswith("test question test-1, gold answer 4\n")
        assert "answer: 9 (wrong)" in text
        assert "answer: 4 (right)" in text
    unknown = prediction(TEXT, "", "length", gold="")
    text = printed(80, (unknown, unknown), Question("", "?", "", "number", (), "test", ""))
    assert "gold" not in text
    assert "(wrong)" not in text
    assert "answer: none" in text
    assert "12 tokens, cut off there" in text


def test_control_characters_of_a_model_are_shown():
    hostile = prediction("\x1b]0;title\x07 [bold] is 4.", "4")
    for width in (80, 120):
        text = printed(width, (hostile, hostile))
        assert "\u241b]0;title\u2407 [bold] is 4." in text


def answers(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["chat", *map(str, arguments)])
    assert not ended.value.code
    return capsys.readouterr().out


def test_a_run_is_asked_by_folder_and_by_config_and_nothing_is_written(capsys, tmp_path):
    run = chat_run(tmp_path)
    before = snapshot(tmp_path)
    folder = f"{run.store.root}/{run.folder}"
    text = answers(capsys, folder, "--question", QUESTIONS[1].question, "--question", "Why 5?")
    assert f"{run.artifacts['train'].path}/student" in text
    assert "test question test-1, gold answer 4" in text
    assert text.count("untouched student") == text.count("answer: ") / 2 == 2
    assert "question: Why 5?" in text
    other = answers(capsys, SMOKE, f"storage={run.store.root}", "--question", QUESTIONS[1].question)
    assert text.startswith(other.rstrip())
    assert snapshot(tmp_path) == before


def test_an_unfinished_run_is_named_with_its_command(capsys, storage):
    line = refused(capsys, "chat", str(SMOKE), storage, "--question", "?")
    assert f"phase train isn't finished; run kpod run {SMOKE} {storage} --until train" in line


@pytest.mark.parametrize("temperature", ["-1", "nan", "inf", "101"])
def test_a_wrong_temperature_is_refused(capsys, storage, temperature):
    line = refused(capsys, "chat", str(SMOKE), storage, "--temperature", temperature)
    assert f"--temperature: expected a number from 0 to 100 (got {float(temperature)})" in line


def test_a_blank_question_is_refused(capsys, tmp_path):
    folder = str(chat_run(tmp_path).store.root) + "/runs/smoke"
    assert "there is no question" in refused(capsys, "chat", folder, "--question", " \n")


PROGRAM = """
import sys
from kpod_ray.cli.main import main
try:
    main(["chat", *sys.argv[1:]])
finally:
    sys.stderr.write(f"ray loaded: {'ray' in sys.modules}")
"""


@pytest.mark.slow
def test_standard_input_is_one_question_and_ray_is_not_loaded(tmp_path):
    run = chat_run(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{run.store.root}/{run.folder}"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        input=QUESTIONS[1].question,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert done.stderr == "ray loaded: False"
    assert "test question test-1, gold answer 4" in done.stdout
    assert done.stdout.count("answer: ") == 2


class Session:
    """``kpod chat`` on a terminal of its own."""

    def __init__(self, folder):
        self.terminal, self.screen = pty.openpty(), ""
        self.mode = termios.tcgetattr(self.terminal[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kpod_ray", "chat", folder],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "80"},
            stdin=self.terminal[1],
            stdout=self.terminal[1],
            stderr=self.terminal[1],
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # to control it
        )

    def read_until(self, text):
        """Read what the command prints up to a text."""
        while text not in self.screen:
            self.screen += os.read(self.terminal[0], 4096).decode(errors="replace")
        seen, _, self.screen = self.screen.partition(text)
        return seen

    def type(self, keys):
        os.write(self.terminal[0], keys.encode())

    def end(self):
        """Return the exit code; check that the terminal is as before."""
        code = self.process.wait(60)
        assert termios.tcgetattr(self.terminal[1]) == self.mode
        for end in self.terminal:
            os.close(end)
        return code


@pytest.mark.slow
def test_a_user_types_questions_and_ends_by_ctrl_d_or_ctrl_c(tmp_path):
    run = chat_run(tmp_path)
    folder = f"{run.store.root}/{run.folder}"
    first = Session(folder)
    assert "such as: Bo has 2 + 2 pens." in first.read_until("question> ")
    first.type("\nWhich is odd?\n")
    seen = first.read_until("answer: ") + first.read_until("answer: ")
    assert "test question test-2, gold answer B" in seen
    assert "distilled student" in seen
    first.read_until("question> ")
    first.type("\x04")
    assert first.end() == 0
    second = Session(folder)
    second.read_until("question> ")
    second.type("half a que")
    second.read_until("half a que")
    time.sleep(0.2)
    second.type("\x03")
    second.read_until("kpod: ended by Ctrl-C")
    assert second.end() == 128 + signal.SIGINT
