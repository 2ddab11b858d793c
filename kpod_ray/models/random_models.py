"""Models with random parameters, generated from a seed, and their tokenizers.

``tiny`` (Llama) and ``tiny-t5`` (T5) are for tests. They have fewer than 300,000 parameters and a
tokenizer with one token a byte. ``small`` (Llama, less than a million parameters) is large enough to
learn the built-in arithmetic questions, and its byte-pair tokenizer is trained on such questions. The
same seed gives the same model. The functions keep the state of torch's random generators.
`kpod_ray.models.sources` calls this module for the names ``tiny:SEED``, ``tiny-t5:SEED`` and
``small:SEED`` in a config.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.data.prompts import target_text
from kpod_ray.questions.arithmetic import generate_questions

VOCABULARY_SIZE = 1024
"""Number of tokens of the small model's tokenizer."""
NUM_TEXTS = 4000
"""Number of questions with rationales that the small model's tokenizer is trained on."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def save_tiny_llama(folder: Path, seed: int) -> None:
    """Write a tiny Llama with random float32 parameters and its byte tokenizer as a model folder.

    Args:
        folder: the Hugging Face model folder, created with its parents if necessary; existing files are
            overwritten.
        seed: seed of the parameters, 0 or more.

    Raises:
        ValueError: The seed is 2^64 or more.
    """
    tokenizer = byte_tokenizer()
    # Heads of size 64 / 2 = 32 are the smallest that vLLM's CPU attention supports.
    config = _llama_config(
        tokenizer,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    save_random_llama(folder, config, tokenizer, seed)


def save_tiny_t5(folder: Path, seed: int) -> None:
    """Write a tiny T5 with random float32 parameters and its byte tokenizer as a model folder.

    The architecture is that of T5 version 1.1 and Flan-T5, with an output head of its own. Arguments and
    errors are those of `save_tiny_llama`.
    """
    tokenizer = byte_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=32,
        d_ff=96,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    with _seeded(seed):
        model = T5ForConditionalGeneration(config)
        # transformers ties the output head of a new T5 in spite of the config; Flan-T5's is untied.
        head = torch.randn_like(model.shared.weight) * config.d_model**-0.5
        model.lm_head.weight = torch.nn.Parameter(head)
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_small_model(folder: Path, seed: int) -> None:
    """Write a small Llama with random float32 parameters and its arithmetic tokenizer as a model folder.

    The tokenizer is trained in this call and doesn't depend on the seed. Arguments and errors are those
    of `save_tiny_llama`.
    """
    tokenizer = arithmetic_tokenizer()
    config = _llama_config(
        tokenizer,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    save_random_llama(folder, config, tokenizer, seed)


def _llama_config(tokenizer: PreTrainedTokenizerFast, **sizes: int) -> LlamaConfig:
    """Return the config of a Llama with tied embeddings that fits a tokenizer."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )


def save_random_llama(
    folder: Path, config: LlamaConfig, tokenizer: PreTrainedTokenizerFast, seed: int
) -> None:
    """Write a Llama with random float32 parameters and a tokenizer as a model folder.

    Args:
        folder: as in `save_tiny_llama`.
        config: architecture of the model, whose ``vocab_size`` must cover the tokenizer's; not checked.
        tokenizer: tokenizer that is saved with the model.
        seed: as in `save_tiny_llama`, with the same error.
    """
    with _seeded(seed):
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's random generator of the CPU in the context; afterwards it has its state of before."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the generators of GPUs, too, which are not restored.
        torch.default_generator.manual_seed(seed)
        yield


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a new tokenizer with a chat template and 259 tokens: one a byte and three special ones.

    The special tokens, which the tokenizer doesn't add to a text by itself, are ``<|start|>`` (beginning
    of a sequence), ``<|end|>`` (end of a sequence) and ``<|pad|>``.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=2048,
    )
    fast.chat_template = _CHAT_TEMPLATE
    return fast


def arithmetic_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-pair tokenizer on arithmetic word problems, with the same result in every call.

    Every digit is a token of its own. The tokenizer has `VOCABULARY_SIZE` tokens, among them ``<|end|>``
    (end of a sequence) and ``<|pad|>``, but no beginning-of-sequence token and no chat template.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=["<|end|>", "<|pad|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        model_max_length=1024,
    )


def _texts() -> list[str]:
    """Return the training texts of the tokenizer: built-in questions with rationales and answers."""
    config = ArithmeticQuestions(num_train=NUM_TEXTS, num_test=0)
    return [
        f"Q: {question.question}\nA:\n{target_text(question.reference_rationale, question.answer)[0]}"
        for question in generate_questions(config, seed=0)
    ]
