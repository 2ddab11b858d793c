"""Models of the size and shape of well-known ones, with random parameters, for speed and memory alone.

No hub is needed. Their tokenizer is SmolLM2's, whose tokens are the first 49,152 of their vocabulary.
"""

from __future__ import annotations

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from kpod_ray.models.folders import MODEL_CACHE, model_folder

TOKENIZER = "packaged:SmolLM2-135M-Instruct"
SHAPES = {
    "random:qwen2.5-0.5b": Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "random:qwen2.5-1.5b": Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
}


def random_or_known(name: str) -> str:
    """Return the folder of a model: of `SHAPES`, made when it isn't there, or a name as in a config."""
    if name not in SHAPES:
        return str(model_folder(name, MODEL_CACHE))
    folder = MODEL_CACHE / name.replace(":", "-")
    if not (folder / "config.json").exists():
        torch.manual_seed(0)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen2ForCausalLM(SHAPES[name])
        model.bfloat16().save_pretrained(folder)
    if not (folder / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(model_folder(TOKENIZER, MODEL_CACHE))
        tokenizer.save_pretrained(folder)
    return str(folder)
