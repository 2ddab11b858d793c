"""Check a model folder in a few seconds, without its tensors, before anything expensive starts."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from kpod_ray.data.prompts import Template
from kpod_ray.errors import KpodError
from kpod_ray.models.custom_code import load_pretrained
from kpod_ray.models.weight_files import check_weights

_PLACED = ("bos", "eos", "unk", "sep", "pad", "cls")
"""Kinds of tokens that a tokenizer puts into texts by itself."""
_GENERATIVE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Parts of the names of architectures that generate text."""


class ModelUse(NamedTuple):
    """What a phase does with a model."""

    role: Literal["student", "teacher", "encoder"]
    """``student`` is trained or read as a student (a predictor, too), ``teacher`` generates with vLLM,
    ``encoder`` embeds texts."""
    template: Template | None = None
    """How prompts are rendered; None if the model gets no prompts."""


def check_folder(name: str, folder: Path, use: ModelUse) -> None:
    """Check config, weights, tokenizer and chat template of a model folder; no tensor is read.

    torch and transformers are loaded. A folder's own code is run only if the model is trusted.

    Args:
        name: name of the model for messages.
        folder: the local folder.
        use: what the model is used for.

    Raises:
        KpodError: The model can't be used, in one line that says what is wrong and what to do.
    """
    try:
        check_config_file(name, folder)
        files = sorted(path for path in folder.iterdir() if path.is_file())
        for path in files:
            path.open("rb").close()  # libraries report a missing permission as a missing file
        stats = [(path.name, path.stat()) for path in files]
        state = tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)
        _check_files(name, folder, use, state)
    except OSError as error:
        where = error.filename or folder
        raise KpodError(
            f"model {name}: {where} can't be read: {error.strerror or error}; check its permissions"
        ) from error


@functools.lru_cache(64)  # sweeps and comparisons check the same folders for many configs
def _check_files(
    name: str, folder: Path, use: ModelUse, state: tuple[tuple[str, int, int], ...]
) -> None:
    """Check the files of a folder, which have the names, sizes and times of ``state``."""
    with _quiet_transformers():
        config = _config(name, folder)
        check_family(name, config, use)
        check_weights(name, folder, _model_class(config, use), config)
        _check_generation_config(name, folder)
        _check_tokenizer(name, folder, config, use)


def check_config_file(name: str, folder: Path) -> None:
    """Check that a folder exists and has a ``config.json`` that is a JSON object with a model type.

    Raises:
        KpodError: It hasn't, or the folder holds an adapter.
        OSError: The file can't be read.
    """
    if folder.is_file():
        raise KpodError(f"model {name}: it is a file; name the folder that holds config.json")
    if (folder / "adapter_config.json").exists():
        raise KpodError(
            f"model {name}: it holds an adapter; merge the adapter into its base model "
            "(peft: merge_and_unload) and name the merged folder"
        )
    if not (folder / "config.json").is_file():
        gguf = " GGUF files must be converted first: transformers' gguf_file=..., save_pretrained."
        hint = gguf if folder.is_dir() and any(folder.glob("*.gguf")) else ""
        raise KpodError(
            f"model {name}: no such model folder (a config.json is expected in it){hint}"
        )
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except (ValueError, RecursionError) as error:
        raise KpodError(
            f"model {name}: config.json is no valid JSON ({error}); copy the file again"
        ) from error
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise KpodError(
            f"model {name}: config.json has no model_type; copy the config.json of the model again"
        )


def _config(name: str, folder: Path) -> Any:
    """Return transformers' config of a folder."""
    import transformers

    try:
        return load_pretrained(transformers.AutoConfig, name, str(folder))
    except KpodError:
        raise
    except Exception as error:  # values of a wrong type may raise errors of any kind
        kind = json.loads((folder / "config.json").read_bytes())["model_type"]
        if kind in transformers.CONFIG_MAPPING:
            reason = f"config.json is invalid ({_first_line(error)}); copy the file again"
        else:
            reason = (
                f"transformers {transformers.__version__} doesn't know its model_type {kind!r}; "
                "name another model, or update transformers"
            )
        raise KpodError(f"model {name}: {reason}") from error


def check_family(name: str, config: Any, use: ModelUse) -> None:
    """Raise a `KpodError` if transformers' config isn't that of a model for the use."""
    if use.role == "teacher":
        _check_teacher(name, config)
    if use.role == "encoder":
        if config.is_encoder_decoder:
            raise KpodError(
                f"model {name}: an encoder-decoder model embeds no texts; name an encoder"
            )
        if not getattr(config, "max_position_embeddings", None):
            raise KpodError(
                f"model {name}: config.json has no max_position_embeddings, which the embedding of "
                "texts needs; name another encoder"
            )
    elif config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        raise KpodError(f"model {name}: decoder_start_token_id is missing in its config.json")


def _check_teacher(name: str, config: Any) -> None:
    if config.is_encoder_decoder:
        raise KpodError(f"model {name}: vLLM takes no encoder-decoder model; name a causal one")
    architectures = config.architectures
    if architectures and not any(part in text for text in architectures for part in _GENERATIVE):
        raise KpodError(
            f"model {name}: {architectures[0]} is no language model; name one that writes text"
        )


def _model_class(config: Any, use: ModelUse) -> Any:
    """Return the auto class of transformers that loads the model; None for a model of vLLM alone."""
    import transformers

    if use.role == "teacher" and type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    if use.role == "encoder":
        return transformers.AutoModel
    if config.is_encoder_decoder:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForCausalLM


def _check_generation_config(name: str, folder: Path) -> None:
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return
    try:
        GenerationConfig.from_pretrained(folder)
    except Exception as error:  # values of a wrong type may raise errors of any kind
        raise KpodError(
            f"model {name}: generation_config.json is invalid ({_first_line(error)}); "
            "mend or delete the file"
        ) from error


def _check_tokenizer(name: str, folder: Path, config: Any, use: ModelUse) -> None:
    """Check tokenizer, vocabulary and chat template."""
    tokenizer = _tokenizer(name, folder)
    check_size(name, tokenizer, config)
    if use.role != "encoder":
        check_tokenizer(name, tokenizer)
    elif tokenizer.pad_token is None:
        raise KpodError(
            f"model {name}: its tokenizer has no padding token, which the embedding of texts needs; "
            "name another encoder"
        )
    if use.template == "chat":
        _check_template(name, tokenizer, use)


def check_tokenizer(name: str, tokenizer: Any) -> None:
    """Raise a `KpodError` if a tokenizer has no character offsets or no end-of-sequence token."""
    if not tokenizer.is_fast:
        raise KpodError(f"model {name}: its tokenizer gives no character offsets (no fast version)")
    if tokenizer.eos_token_id is None:
        raise KpodError(f"model {name}: its tokenizer has no end-of-sequence token")


def check_size(name: str, tokenizer: Any, config: Any) -> None:
    """Raise a `KpodError` if a tokenizer has more tokens than a config's model has embeddings.

    Of the tokens that were added to the vocabulary, only those of `_PLACED` count.
    """
    # ``vocab_size`` leaves out added tokens, such as those of images, which some models have no rows
    # for.
    num_embeddings = config.get_text_config().vocab_size
    if tokenizer.vocab_size > num_embeddings:
        raise KpodError(
            f"model {name}: its tokenizer has {tokenizer.vocab_size} tokens, the model "
            f"{num_embeddings}; take the tokenizer that belongs to the model"
        )
    for token in (getattr(tokenizer, f"{kind}_token", None) for kind in _PLACED):
        if token is not None and tokenizer.convert_tokens_to_ids(token) >= num_embeddings:
            raise KpodError(
                f"model {name}: token {token!r} of its tokenizer has no embedding, the model has "
                f"{num_embeddings}; take the tokenizer that belongs to the model"
            )


def _tokenizer(name: str, folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = load_pretrained(AutoTokenizer, name, str(folder))
        is_usable = bool(tokenizer("1 + 1 = 2").input_ids)
    except KpodError:
        raise
    except Exception as error:  # damaged files raise errors of many types, from Rust code, too
        raise KpodError(
            f"model {name}: its tokenizer can't be loaded ({_first_line(error)}); "
            "copy tokenizer.json and tokenizer_config.json again"
        ) from error
    if not is_usable:
        raise KpodError(
            f"model {name}: its tokenizer makes no tokens of a text; copy tokenizer.json again"
        )
    return tokenizer


def _check_template(name: str, tokenizer: Any, use: ModelUse) -> None:
    """Render a short chat with the chat template."""
    if not tokenizer.chat_template:
        raise KpodError(
            f"model {name}: it has no chat template; set {use.role}.template=plain, or name a model "
            "that has one"
        )
    chat = [{"role": "user", "content": "1 + 1?"}]
    try:
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program, which can raise anything
        raise KpodError(
            f"model {name}: its chat template fails ({_first_line(error)}); "
            f"mend chat_template, or set {use.role}.template=plain"
        ) from error
    if "1 + 1?" not in text:
        raise KpodError(
            f"model {name}: its chat template leaves out the question; mend chat_template, or set "
            f"{use.role}.template=plain"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Let transformers print no warnings, reports and progress bars: what matters is raised."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
