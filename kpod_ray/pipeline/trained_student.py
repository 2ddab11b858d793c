"""The trained student of a run as a model that can be loaded; importing this module loads no torch."""

from __future__ import annotations

from kpod_ray.models.custom_code import with_trust_of
from kpod_ray.storage.artifacts import Artifact

STUDENT_FOLDER = "student"
"""Subfolder of the artifact ``train`` with the trained student, a Hugging Face model folder."""


def trained_student(train: Artifact, untouched: str) -> str:
    """Return the name of the trained student as a model, after its files are read and checked.

    ``train`` is the finished artifact of phase ``train``, ``untouched`` the name of the model that was
    trained (``student.model``). The trained student is trusted if the untouched one is.

    Raises:
        KpodError: A file of the student is missing, was changed or can't be read.
    """
    train.check_folder(STUDENT_FOLDER)
    address = train.store.address(f"{train.folder}/{STUDENT_FOLDER}")
    return with_trust_of(address, untouched)
