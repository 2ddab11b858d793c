"""The small student: its tokenizer on the built-in questions."""

from transformers import AutoModelForCausalLM, AutoTokenizer

from kpod_ray.models.random_models import save_small_model

TEXT = "Q: Tom had 12 apples.\nA:\n12 + 35 = 47."


def test_it_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_small_model(tmp_path / name, seed)
    bytes_of = [(tmp_path / name / "model.safetensors").read_bytes() for name in "abc"]
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]
    tokenizers = [(tmp_path / name / "tokenizer.json").read_text() for name in "ac"]
    assert tokenizers[0] == tokenizers[1]


def test_every_digit_is_a_token_and_text_comes_back(tmp_path):
    save_small_model(tmp_path / "m", 0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    pieces = [tokenizer.decode([i]).strip() for i in ids]
    assert [piece for piece in pieces if any(c.isdigit() for c in piece)] == list("12123547")
    assert tokenizer.decode(ids) == TEXT
    assert len(ids) < 30
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert 5e5 < sum(p.numel() for p in model.parameters()) < 3e6
    assert model.config.vocab_size == len(tokenizer)
