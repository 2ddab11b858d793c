"""Check a model that a config names, whatever kind of name it has, before anything expensive starts."""

from __future__ import annotations

import os
from pathlib import Path

from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import plain_name, with_trust_of
from kpod_ray.models.folder_check import ModelUse, check_family, check_folder
from kpod_ray.models.names import RANDOM, looks_local, seed_of, without_query
from kpod_ray.models.sources import (
    builtin_folder,
    checked_address,
    is_encoder_decoder,
    load_config,
    packaged_source,
)
from kpod_ray.models.weight_files import copy_without_tensors
from kpod_ray.storage.artifacts import MANIFEST, Artifact
from kpod_ray.storage.filesystems import reason
from kpod_ray.storage.scratch import temporary_folder
from kpod_ray.storage.store import Store


def check_model(name: str, use: ModelUse) -> None:
    """Check that a model exists and fits its use; no tensor is read, nothing is generated.

    Of a folder, local or at an address, all files are checked (`check_folder`); of a model on the hub
    the config, which is downloaded if it isn't cached; of any other model the name.

    Raises:
        KpodError: The model can't be used, in one line that says what is wrong and what to do.
    """
    plain = plain_name(name)
    kind, colon, rest = plain.partition(":")
    if colon and kind in RANDOM:
        seed_of(kind, rest)
        _check_random(name, kind, use)
    elif colon and kind == "builtin":
        builtin_folder(rest)
    elif colon and kind == "packaged":
        place, file = packaged_source(rest)
        if not file.endswith(".gguf"):
            check_folder(name, Path(place) / file, use)
    elif "://" in name:
        _check_address(name, use)
    elif looks_local(plain):
        folder = Path(os.path.expanduser(plain))
        check_folder(name, folder, use)
        _check_trained(folder.resolve())
    else:
        _check_hub(name, use)


def _check_random(name: str, kind: str, use: ModelUse) -> None:
    if is_encoder_decoder(name) and use.role == "teacher":
        raise KpodError(f"model {name}: vLLM takes no encoder-decoder model; name a causal one")
    if is_encoder_decoder(name) and use.role == "encoder":
        raise KpodError(f"model {name}: an encoder-decoder model embeds no texts; name an encoder")
    if kind == "small" and use.template == "chat":
        raise KpodError(f"model {name}: it has no chat template; set {use.role}.template=plain")


def _check_trained(folder: Path) -> None:
    """Compare the files of a student that a run has trained with the checksums in its manifest.

    Folders that aren't the student of a finished artifact, or are of a version without checksums, pass.
    """
    manifest = folder.parent / MANIFEST
    is_student = folder.name == "student" and folder.parts[-3:-2] == ("train",)
    if is_student and manifest.is_file() and b'"sha256"' in manifest.read_bytes():
        store = Store.at(str(folder.parents[2]))
        Artifact(store, "train", folder.parent.name).check_folder(folder.name)


def _check_address(address: str, use: ModelUse) -> None:
    filesystem, path = checked_address(plain_name(address))
    name = with_trust_of(without_query(plain_name(address)), address)
    with temporary_folder() as folder:
        try:
            copy_without_tensors(filesystem, path, folder)
        except OSError as error:
            raise KpodError(f"model {name}: {reason(error)}") from error
        check_folder(name, folder, use)


def _check_hub(name: str, use: ModelUse) -> None:
    """Check that a model's config is in the local hub cache or can be downloaded, and fits the use."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        config = load_config(name)
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        raise KpodError(
            f"model {name}: neither a folder here nor to be had from the hub; "
            "give a folder, or a model inside a package such as packaged:SmolLM2-135M-Instruct"
        ) from error
    check_family(name, config, use)
