"""A random Llama of about a million parameters whose tokenizer is made for the built-in questions.

Small enough to be trained from nothing on two cores, large enough to learn the arithmetic of
`kpod_ray.data.arithmetic`: the student of comparisons that need many trainings.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, PreTrainedTokenizerFast

from kpod_ray.config import ArithmeticQuestions
from kpod_ray.data.arithmetic import generate_questions
from kpod_ray.data.prompts import target_text
from kpod_ray.models.tiny import save_random_llama

VOCABULARY_SIZE = 1024
NUM_TEXTS = 4000
"""Questions with their rationales that the tokenizer is made from."""


def save_small_model(folder: Path, seed: int) -> None:
    """Write model and tokenizer as an ordinary Hugging Face folder."""
    tokenizer = arithmetic_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    save_random_llama(folder, config, tokenizer, seed)


def arithmetic_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-pair tokenizer of arithmetic word problems; every digit is a token."""
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
    config = ArithmeticQuestions(num_train=NUM_TEXTS, num_test=0)
    return [
        f"Q: {question.question}\nA:\n{target_text(question.reference_rationale, question.answer)[0]}"
        for question in generate_questions(config, seed=0)
    ]
