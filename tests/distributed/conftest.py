import pytest

from tests.distributed.training_runs import train, write_inputs


@pytest.fixture(scope="session")
def training_inputs(tmp_path_factory, tiny_tokenizer):
    """What trainings of a tiny student start from."""
    return write_inputs(str(tmp_path_factory.mktemp("store")), tiny_tokenizer)


@pytest.fixture(scope="session")
def alone(ray_cluster, training_inputs):
    """What the training comes to on one worker that nothing happens to."""
    return train(training_inputs, "alone")
