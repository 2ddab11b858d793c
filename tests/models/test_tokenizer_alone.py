"""A tokenizer without its model cuts texts as the model's own does."""

import uuid
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from benchmarks.object_server import object_server
from kpod_ray.errors import KpodError
from kpod_ray.models.sources import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_tokenizer
from kpod_ray.models.tokenizer_alone import load_tokenizer_alone
from kpod_ray.storage.filesystems import open_address

TEXT = "There are 3 apples in 2.50 boxes.\nSo 3 * 4 = 12."


@pytest.mark.parametrize("name", ["tiny:0", "builtin:student"])
def test_a_model_of_this_machine_is_loaded_as_ever(name):
    assert load_tokenizer_alone(name)(TEXT).input_ids == load_tokenizer(name)(TEXT).input_ids


def test_of_a_model_at_an_address_the_parameters_stay_there(monkeypatch):
    folder = Path(model_folder("tiny:0"))
    with object_server() as server:
        server.tell("bucket models")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        address = f"s3://models/{uuid.uuid4().hex}"
        filesystem, path = open_address(address)
        pafs.copy_files(str(folder), path, pafs.LocalFileSystem(), filesystem)
        cached = set(MODEL_CACHE.iterdir())
        tokenizer = load_tokenizer_alone(address)
        with pytest.raises(KpodError, match="no model folder"):
            load_tokenizer_alone(f"{address}-gone")
    assert tokenizer(TEXT).input_ids == load_tokenizer("tiny:0")(TEXT).input_ids
    assert set(MODEL_CACHE.iterdir()) == cached
