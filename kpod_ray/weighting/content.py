"""The models and files that each kind of ``weighting`` reads, for checks and fingerprints.

This module imports no torch, so that commands that only check a config start fast.
"""

from __future__ import annotations

from kpod_ray.config import FileWeighting, LearnedWeighting, WeightingConfig
from kpod_ray.models.sources import model_hash
from kpod_ray.storage.user_files import file_hash


def model_names(weighting: WeightingConfig | None) -> set[str]:
    """Return the names of the models that the phase loads in addition to the student's model.

    The set holds ``weighting.predictor``, even if it is the student's name. The set is empty without a
    predictor, and for weights that aren't learned.

    Args:
        weighting: settings of the phase; None stands for uniform weights.
    """
    if isinstance(weighting, LearnedWeighting) and weighting.predictor:
        return {weighting.predictor}
    return set()


def content_hash(weighting: WeightingConfig | None) -> str:
    """Return a hash of the files and models, except the student, that determine the token weights.

    Args:
        weighting: settings of the phase; None stands for uniform weights.

    Returns:
        `file_hash` of the file of weights, or `model_hash` of the predictor's model; "" without a file
        and without a predictor that is a local folder.

    Raises:
        KpodError: The file of weights doesn't exist, is a folder or can't be read, or the local folder
            of the predictor doesn't exist or has no ``config.json``.
        OSError: A file in the predictor's folder can't be read.
    """
    if isinstance(weighting, FileWeighting):
        return file_hash(weighting.path)
    return "".join(model_hash(name) for name in sorted(model_names(weighting)))
