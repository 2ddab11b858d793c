"""A run whose student is trained, as far as ``kpod chat`` needs it; its phases are written by hand."""

import shutil

from kpod_ray.config import load
from kpod_ray.models.sources import model_folder
from kpod_ray.pipeline.naming import open_run
from kpod_ray.pipeline.run_files import write_run_files
from kpod_ray.records import Question
from tests.conftest import REPOSITORY

SMOKE = REPOSITORY / "configs" / "smoke.yaml"
QUESTIONS = [
    Question("train-1", "Ann has 3 eggs. How many?", "3", "number", (), "train", ""),
    Question("test-1", "Bo has 2 + 2 pens.\nHow many?", "4", "number", (), "test", ""),
    Question("test-2", "Which is odd?", "B", "choice", ("2", "3"), "test", ""),
]


def chat_run(tmp_path, *overrides, distilled="tiny:2"):
    """A run of small models, ``tiny:1`` untouched unless an override names another."""
    run = open_run(load(SMOKE, [f"storage={tmp_path / 'store'}", *overrides]))
    run.artifacts["questions"].write("questions", Question.to_table(QUESTIONS))
    run.artifacts["questions"].finish({"seconds": 0.0, "counts": {"train": 1, "test": 2}})
    train = run.artifacts["train"]
    shutil.copytree(model_folder(distilled), f"{train.path}/student")
    train.finish({"seconds": 0.0, "counts": {}})
    write_run_files(run)
    return run
