"""The models and files that each kind of ``weighting`` reads, for checks and fingerprints.

This module imports no torch, so that commands that only check a config start fast.
"""

from __future__ import annotations

from kpod_ray.config import FileWeighting, LearnedWeighting, WeightingConfig
from kpod_ray.models.sources import model_hash
from kpod_ray.storage.user_files import file_hash


def model_names(weighting: WeightingConfig | None) -> set[str]:
    """Return the names of the models that the phase loads in addition to the student's model.

    These are ``weighting.predictor``, even if it is the student's name, or none. None as argument stands
    for uniform weights.
    """
    if isinstance(weighting, LearnedWeighting) and weighting.predictor:
        return {weighting.predictor}
    return set()


def content_hash(weighting: WeightingConfig | None) -> str:
    """Return a hash of the files and models, except the student, that determine the token weights.

    The hash is the `file_hash` of the file of weights, or the `model_hash` of the predictor's local
    folder; without either it is "". None as argument stands for uniform weights.

    Raises:
        KpodError: The file of weights can't be read, or the folder doesn't exist or has no
            ``config.json``.
        OSError: A file in the folder can't be read.
    """
    if isinstance(weighting, FileWeighting):
        return file_hash(weighting.path)
    return "".join(model_hash(name) for name in sorted(model_names(weighting)))
