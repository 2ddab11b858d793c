import pytest


@pytest.fixture
def storage(tmp_path):
    return f"storage={tmp_path / 'store'}"
