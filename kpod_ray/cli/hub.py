"""Say in one line whether the hub doesn't answer that a config needs, before transformers loads."""

from __future__ import annotations

from kpod_ray.config import HubQuestions, RunConfig, VllmTeacher
from kpod_ray.models.hub import unreachable_hub
from kpod_ray.models.names import is_hub_name
from kpod_ray.weighting.content import model_names


def hub_line(config: RunConfig) -> str | None:
    """Return that the hub doesn't answer, if the config names something there; else None.

    This process then uses only the hub's cache on this machine, see `unreachable_hub`.
    """
    address = unreachable_hub() if _needs_hub(config) else None
    return address and f"{address} doesn't answer; only its cache on this machine is used"


def _needs_hub(config: RunConfig) -> bool:
    """Return whether a model or a data set of a config is on the hub."""
    models = [config.student.model, *model_names(config.weighting)]
    if isinstance(config.teacher, VllmTeacher):
        models.append(config.teacher.model)
    embedding = config.schedule.embedding
    if embedding is not None and not embedding.endswith(".txt"):
        models.append(embedding)
    sources = [config.questions, *config.evaluation.also.values()]
    return any(map(is_hub_name, models)) or any(isinstance(s, HubQuestions) for s in sources)
