"""The time that phases of earlier runs took for the same work, from the manifests in a storage."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from kpod_ray.config import RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.pipeline.forecast.estimates import Measured
from kpod_ray.storage.artifacts import Artifact, Manifest
from kpod_ray.storage.store import Store

MOST_MANIFESTS = 100
"""Largest number of artifacts of a phase whose manifests are read: of each, a request to the storage."""
Settings = Mapping[str, Any]
"""The settings of a run, as its manifests hold them."""
_OF_DATA = (
    "source",
    "style",
    "min_steps",
    "max_steps",
    "largest_result",
    "path",
    "dataset",
    "subset",
)
"""Settings of the questions that determine how long their texts are."""
_NOT_OF_TEACHER = {
    *("fallback", "filters", "selection", "num_kept", "samples"),
    *("api_key_env", "timeout_s", "max_tries", "max_wait_s", "price", "max_cost"),
}
"""Settings of the teacher that don't change the time of a sample."""
_NOT_OF_STUDENT = {
    *("seed", "learning_rate", "learning_rate_schedule", "warmup", "weight_decay", "max_grad_norm"),
    *("token_weights", "boundary", "loss_normalization", "loss_token_budget", "exported_student"),
}
"""Settings of the student that don't change the time of a train step."""
_NOT_OF_PLACE = {"labels", "max_failures", "checkpoints", "rows_per_block"}
"""Settings of resources that don't change which processors a phase gets."""
_ITEMS = {
    "teacher": "generated",
    "weigh": "rationales",
    "assess": "rationales",
    "plan": "questions",
    "train": "train_steps",
    "evaluate": "questions",
}
"""Phase -> the count in its manifest by which its time grows."""


class EarlierRuns:
    """The finished artifacts of a storage; the manifests of a phase are read at most once.

    Args:
        store: the storage, which need not exist.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._of_phase = functools.cache(self._read)

    def measured(self, name: str, config: RunConfig) -> list[Measured]:
        """Return what earlier runs needed for the work of an artifact, in no particular order.

        The work is the same if the model, the data set, the processors, and every setting that changes
        the time of an item are the same. Runs on other machines count, too, if they share the storage.
        Artifacts whose phase was interrupted, or whose manifest can't be read, are left out.

        Args:
            name: name of an artifact, see `name_artifacts`; other phases than those with a model, such
                as ``questions``, have no measurements.
            config: config of the run.
        """
        phase = name.partition("_")[0]
        if phase not in _ITEMS:
            return []
        wanted = _conditions(name, json.loads(json.dumps(config.model_dump())))
        return [
            Measured(manifest["counts"].get(_ITEMS[phase], 0), manifest["seconds"], source)
            for source, manifest in self._of_phase(phase).items()
            if _is_of(name, manifest) and _conditions(name, manifest["config"]) == wanted
        ]

    def _read(self, phase: str) -> dict[str, Manifest]:
        """Return folder -> manifest of the finished artifacts of a phase that weren't interrupted."""
        found = {}
        for fingerprint in self.store.folders(phase)[:MOST_MANIFESTS]:
            artifact = Artifact(self.store, phase, fingerprint)
            with contextlib.suppress(KpodError):  # unfinished, or damaged
                manifest = artifact.manifest()
                if manifest.get("is_resumed") is False:
                    found[artifact.folder] = manifest
        return found


def _is_of(name: str, manifest: Manifest) -> bool:
    """Return whether a manifest is of an artifact with this name: three have the phase ``evaluate``."""
    if not name.startswith("evaluate"):
        return True
    is_before = manifest["model"] == manifest["config"]["student"]["model"]
    return ("_also" in name, "_before" in name) == ("sets" in manifest, is_before)


def _conditions(name: str, settings: Settings) -> list[Any]:
    """Return the settings that determine how long a phase takes for an item."""
    of_phase = _CONDITIONS[name.partition("_")[0]]
    data = {key: settings["questions"].get(key) for key in _OF_DATA}
    also = [settings["evaluation"]["also"]] if "_also" in name else []
    return [data, *also, *of_phase(settings)]


def _of_places(settings: Settings, *groups: str) -> list[Any]:
    """Return the processors of groups of ``resources``."""
    return [_without(settings["resources"][group], _NOT_OF_PLACE) for group in groups]


def _without(settings: Settings, names: set[str]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in names}


def _teacher(settings: Settings) -> dict[str, Any]:
    """Return the settings of the teacher that determine the time and the length of a rationale."""
    return _without(settings["teacher"], _NOT_OF_TEACHER)


def _student(settings: Settings, *names: str) -> dict[str, Any]:
    return {name: settings["student"][name] for name in ("model", "template", *names)}


_CONDITIONS: Mapping[str, Callable[[Settings], list[Any]]] = {
    "teacher": lambda s: [_teacher(s), *_of_places(s, "teacher")],
    "weigh": lambda s: [
        _teacher(s),
        _student(s),
        s["weighting"],
        *_of_places(s, "weighting", "apply_weighter"),
    ],
    "assess": lambda s: [
        _teacher(s),
        _student(s, "precision", "kernels", "max_length", "overlength"),
        *_of_places(s, "assess"),
    ],
    "plan": lambda s: [_teacher(s), _student(s), s["schedule"]],
    "train": lambda s: [
        _teacher(s),
        _without(s["student"], _NOT_OF_STUDENT),
        s["schedule"]["adaptive"],
        *_of_places(s, "train"),
    ],
    "evaluate": lambda s: [
        _student(s, "precision"),
        _without(s["evaluation"], {"limit", "also"}),
        *_of_places(s, "evaluate"),
    ],
}
"""Phase -> function of the settings that returns what its time depends on, besides the questions."""
