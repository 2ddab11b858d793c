"""Settings of a vLLM engine that a config may give freely."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

_REFUSED = {
    "model": "the setting model names it",
    "trust_remote_code": "write trusted: before the name of the model",
    **dict.fromkeys(
        (
            *("io_processor_plugin", "kv_transfer_config", "logits_processors"),
            *("model_class_overrides", "reasoning_parser_plugin", "scheduler_cls"),
            *("worker_cls", "worker_extension_cls"),
        ),
        "it names code to run, which a config doesn't",
    ),
}
"""Arguments of vLLM that a config can't give -> why, or what to do instead."""
_WHOLE_NUMBERS = (
    "max_model_len",
    "max_num_seqs",
    "tensor_parallel_size",
    "pipeline_parallel_size",
)
"""Arguments with which kpod_ray calculates."""


def _checked(arguments: dict[str, Any]) -> dict[str, Any]:
    for name, value in arguments.items():
        if (plain := name.replace("-", "_")) in _REFUSED:
            raise ValueError(f"{name} isn't set here; {_REFUSED[plain]}")
        if plain == "distributed_executor_backend" and "." in str(value):
            raise ValueError(f"{name} is a name such as mp, not a class")
    for name in _WHOLE_NUMBERS:
        size = arguments.get(name, 1)
        if type(size) is not int or size < 1:
            raise ValueError(f"{name} is {size!r}; give a whole number of at least 1")
    return arguments


EngineArguments = Annotated[dict[str, Any], AfterValidator(_checked)]
"""Arguments of vLLM's ``AsyncEngineArgs`` by name; whether vLLM knows the names isn't checked."""
