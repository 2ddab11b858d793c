"""The tiny model: an ordinary model to everything that loads it."""

import pytest
import torch

from kpod_ray.models.random_models import byte_tokenizer, save_tiny_llama


@pytest.mark.parametrize("text", ["He has 3 eggs.", " two  blanks\n\n", "café 2 €", "日本", ""])
def test_every_text_comes_back_from_its_bytes(text):
    tokenizer = byte_tokenizer()
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_every_byte_and_three_special_tokens_are_the_vocabulary():
    tokenizer = byte_tokenizer()
    assert len(tokenizer) == 256 + 3
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert sorted(special) == [256, 257, 258]


def test_a_turn_of_a_chat_is_closed_by_the_end_of_sequence():
    tokenizer = byte_tokenizer()
    messages = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text == "<|start|>user\nHi<|end|>\n<|start|>assistant\n"
    assert tokenizer.eos_token == "<|end|>"


def test_making_it_leaves_the_callers_random_numbers_as_they_were(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    save_tiny_llama(tmp_path / "model", 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the machine has no GPU")
def test_making_it_leaves_the_generators_of_gpus_as_they_were(tmp_path):
    torch.cuda.manual_seed_all(7)
    save_tiny_llama(tmp_path / "model", 0)
    assert torch.cuda.initial_seed() == 7
