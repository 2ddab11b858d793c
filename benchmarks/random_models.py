"""Models with the shapes of well-known models and random parameters, to measure speed and memory.

The models are made without the hub. Their tokenizer is SmolLM2's, so that only the first 49,152 ids of
their vocabulary occur in the data.
"""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from kpod_ray.models.sources import MODEL_CACHE, model_folder

SMOLLM2 = "packaged:SmolLM2-135M-Instruct"
_QWEN = {"vocab_size": 151_936, "num_key_value_heads": 2, "tie_word_embeddings": True}
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SHAPES = {
    name: Qwen2Config(**_QWEN, **dict(zip(_SIZES, sizes, strict=True)))
    for name, sizes in {
        "random:qwen2.5-0.5b": (896, 4864, 24, 14),
        "random:qwen2.5-1.5b": (1536, 8960, 28, 12),
    }.items()
}


def random_or_known(name: str) -> str:
    """Return the folder of a model, which is made if `SHAPES` has the name and the folder is missing.

    Args:
        name: key of `SHAPES`, or a model as in a config.
    """
    if name not in SHAPES:
        return str(model_folder(name))
    folder = MODEL_CACHE / name.replace(":", "-")
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen2ForCausalLM(SHAPES[name])
        model.bfloat16().save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(model_folder(SMOLLM2))
        tokenizer.save_pretrained(folder)
    return str(folder)
