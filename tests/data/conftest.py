"""Tokenizers that cut and place text differently, all trained or made on the spot."""

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from kpod_ray.models.tiny import byte_tokenizer

CORPUS = [
    "There are 3 apples in each of 4 boxes. So there are 3 * 4 = 12 apples. She eats 1.5 of them.",
    "He has 10 eggs and sells half of them. He keeps 10 / 2 = 5 eggs. Therefore, the answer is 5.",
    "Each box costs 2.50 dollars.\nSo 4 boxes cost 4 * 2.50 = 10 dollars. The answer is 10.",
] * 3


@pytest.fixture(scope="session", params=["bytes", "blank in the span", "blank before the span"])
def tokenizer(request):
    """A byte tokenizer, and two of words: the blank before a word belongs to its span, or doesn't."""
    if request.param == "bytes":
        return byte_tokenizer()
    return word_tokenizer(trim_offsets=request.param == "blank before the span")


@pytest.fixture(scope="session")
def words():
    """A tokenizer of words, without a chat template."""
    return word_tokenizer(trim_offsets=False)


def word_tokenizer(*, trim_offsets):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    model = Tokenizer(BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
    model.decoder = decoders.ByteLevel()
    model.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
