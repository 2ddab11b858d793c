"""A store on a disk."""

import pytest

from kpod_ray.storage.store import Store


@pytest.fixture
def disk(tmp_path):
    return Store.open(str(tmp_path / "store"))
