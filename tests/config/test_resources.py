"""Resources that phases may have, and those that are refused."""

import pytest

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from tests.config.minimal import MINIMAL, TEACHER


def test_setting_one_resource_keeps_the_others():
    config = RunConfig.model_validate({**MINIMAL, "resources": {"train": {"num_gpus": 1}}})
    assert config.resources.train.num_workers == 2


@pytest.mark.parametrize(
    ("num_gpus", "engine"),
    [
        (4, {}),
        (4, {"pipeline_parallel_size": 2}),
        (4, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
        (0.5, {}),
        (0, {"tensor_parallel_size": 2}),
    ],
)
def test_an_engine_spreads_over_all_of_its_gpus(num_gpus, engine):
    RunConfig.model_validate(MINIMAL).override(
        {"resources.evaluate.num_gpus": num_gpus, "evaluation.engine_kwargs": engine}
    )


@pytest.mark.parametrize(
    ("num_gpus", "engine"),
    [
        (4, {"tensor_parallel_size": 2}),
        (1, {"tensor_parallel_size": 2}),
        (4, {"pipeline_parallel_size": 3}),
    ],
)
def test_gpus_that_an_engine_cannot_use_or_lacks_are_named(num_gpus, engine):
    config = RunConfig.model_validate(MINIMAL).override({"teacher": TEACHER})
    with pytest.raises(KpodError, match=rf"resources.teacher: num_gpus={num_gpus} is not tensor"):
        config.override({"resources.teacher.num_gpus": num_gpus, "teacher.engine_kwargs": engine})


def test_a_pool_cannot_be_smaller_at_most_than_at_least():
    with pytest.raises(KpodError, match="max_actors is smaller than num_actors"):
        RunConfig.model_validate(MINIMAL).override(
            {"resources.teacher": {"num_actors": 3, "max_actors": 2}}
        )
