"""Claims of processes on other machines, and the claims that a store holds."""

import dataclasses
import uuid

from kpod_ray.storage.claims import FOLDER, Claim

NAME = "train/0123456789abcdef"


def foreign(store, **changes):
    """Write the claim of a process on another machine; return its path."""
    claim = Claim("train-0123456789abcdef", 1, uuid.uuid4().hex, "other", 4711, 1, "elsewhere")
    claim = dataclasses.replace(claim, **changes)
    store.write_text(claim.path, "")
    return claim.path


def claims(store):
    return store.files(FOLDER)


def never():
    return False
