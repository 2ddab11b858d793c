"""What each kind of ``weighting`` reads; importing this module loads no torch."""

from __future__ import annotations

from kpod_ray.config import FileWeighting, LearnedWeighting, WeightingConfig
from kpod_ray.models.sources import model_hash
from kpod_ray.storage.user_files import file_hash


def model_names(weighting: WeightingConfig | None) -> set[str]:
    """Return the models that the phase loads besides the student."""
    if isinstance(weighting, LearnedWeighting) and weighting.predictor:
        return {weighting.predictor}
    return set()


def content_hash(weighting: WeightingConfig | None) -> str:
    """Return a hash of the files and models that the weights come from, beside the student.

    Raises:
        KpodError: A file isn't there.
    """
    if isinstance(weighting, FileWeighting):
        return file_hash(weighting.path)
    return "".join(model_hash(name) for name in sorted(model_names(weighting)))
