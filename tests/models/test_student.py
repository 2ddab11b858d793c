"""The student's loss equals the language model's own, whatever the batch looks like."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoModelForCausalLM,
    ByT5Tokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
)

from kpod_ray.data.batches import collate
from kpod_ray.errors import KpodError
from kpod_ray.models.student import check_vocabulary, load_student, load_tokenizer, pad_id

SMALL = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def losses(language_model, example, given_steps=0):
    """Return weighted sum and token losses of one example by the model's own logits alone."""
    ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
    logits = language_model(ids).logits[0, len(example.prompt_ids) - 1 : -1]
    nll = F.cross_entropy(logits, torch.tensor(example.target_ids), reduction="none")
    in_loss = torch.tensor(example.token_steps) >= given_steps
    return (nll * torch.tensor(example.token_weights))[in_loss].sum(), nll[in_loss]


def gradients(module, loss):
    return torch.autograd.grad(loss, list(module.parameters()))


@pytest.mark.parametrize("given_steps", [[0, 0, 0], [1, 2, 0], [1, 3, 2]])
def test_loss_and_gradients_are_those_of_the_models_own_logits(
    student, tiny_folder, examples, given_steps
):
    language_model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    parts = student(collate(examples, given_steps, pad_id=258))
    expected = [losses(language_model, e, g) for e, g in zip(examples, given_steps, strict=True)]
    total = torch.stack([loss for loss, _ in expected]).sum()
    torch.testing.assert_close(parts.total, total)
    torch.testing.assert_close(parts.token_nll, torch.cat([nll for _, nll in expected]).detach())
    for ours, theirs in zip(
        gradients(student, parts.total), gradients(language_model, total), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_micro_batches_add_up_to_the_whole_batch(student, examples):
    whole = student(collate(examples, [1, 0, 1], pad_id=0))
    parts = [student(collate([e], [g], pad_id=0)) for e, g in zip(examples, [1, 0, 1], strict=True)]
    total = torch.stack([part.total for part in parts]).sum()
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(torch.cat([part.token_nll for part in parts]), whole.token_nll)
    for ours, theirs in zip(
        gradients(student, total), gradients(student, whole.total), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_what_the_padding_is_changes_nothing(student, examples):
    totals = [student(collate(examples, [0, 0, 0], pad_id=pad)).total for pad in (0, 65, 258)]
    assert totals[0].item() == totals[1].item() == totals[2].item()


def test_the_order_of_a_batch_changes_nothing_but_the_order_of_its_tokens(student, examples):
    forwards = student(collate(examples, [0, 0, 0], pad_id=0))
    backwards = student(collate(examples[::-1], [0, 0, 0], pad_id=0))
    lengths = [len(example.target_ids) for example in examples]
    torch.testing.assert_close(forwards.total, backwards.total)
    torch.testing.assert_close(
        torch.cat(forwards.token_nll.split(lengths)[::-1]), backwards.token_nll
    )


def test_given_steps_leave_the_loss_of_the_rest_as_it_was(student, examples):
    whole = student(collate(examples[1:2], [0], pad_id=0)).token_nll
    for given in range(1, examples[1].num_steps + 1):
        rest = student(collate(examples[1:2], [given], pad_id=0)).token_nll
        torch.testing.assert_close(rest, whole[len(whole) - len(rest) :])


def test_bf16_keeps_fp32_parameters_and_gives_nearly_the_same_loss(student, tiny_folder, examples):
    batch = collate(examples, [0, 0, 0], pad_id=0)
    mixed = load_student(tiny_folder, torch.bfloat16)
    assert {parameter.dtype for parameter in mixed.parameters()} == {torch.float32}
    total, expected = mixed(batch).total, student(batch).total
    assert total.dtype == torch.float32
    assert total.item() != expected.item()
    assert total.item() == pytest.approx(expected.item(), rel=0.01)
    assert {gradient.dtype for gradient in gradients(mixed, total)} == {torch.float32}


def test_a_few_train_steps_lower_the_loss(student, examples):
    batch = collate(examples, [0, 0, 0], pad_id=0)
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    totals = []
    for _ in range(15):
        total = student(batch).total
        (total / len(batch.labels)).backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: PhiForCausalLM(PhiConfig(**SMALL)), "an output head without bias is expected"),
        (
            lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8)),
            "soft-capped logits are not supported",
        ),
        (
            lambda: GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=8.0)),
            "scaled logits are not supported",
        ),
    ],
    ids=["bias", "soft-capped", "scaled"],
)
def test_a_model_whose_logits_are_more_than_the_head_is_refused(tmp_path, model, message):
    model().save_pretrained(tmp_path)
    with pytest.raises(KpodError, match=message):
        load_student(str(tmp_path), torch.float32)


def test_a_model_whose_logits_are_scaled_by_1_is_taken(tmp_path):
    GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=1.0)).save_pretrained(tmp_path)
    load_student(str(tmp_path), torch.float32)


def test_a_tokenizer_without_offsets_is_refused(tmp_path):
    ByT5Tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(KpodError, match="no character offsets"):
        load_tokenizer(str(tmp_path))


@pytest.fixture
def bare_tokenizer(tmp_path):
    """The folder of a tokenizer, and what saves one into it with the given special tokens."""

    def save(**special):
        model = Tokenizer(WordLevel({"a": 0, "</s>": 1, "<pad>": 2}, unk_token="a"))
        PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(tmp_path)
        (tmp_path / "config.json").write_text("{}")
        return str(tmp_path)

    return save


def test_a_tokenizer_without_end_of_sequence_is_refused(bare_tokenizer):
    with pytest.raises(KpodError, match="no end-of-sequence token"):
        load_tokenizer(bare_tokenizer())


def test_padding_is_the_end_of_sequence_where_there_is_no_token_for_it(bare_tokenizer):
    assert pad_id(load_tokenizer(bare_tokenizer(eos_token="</s>", pad_token="<pad>"))) == 2
    assert pad_id(load_tokenizer(bare_tokenizer(eos_token="</s>"))) == 1


def test_a_tokenizer_of_no_model_is_refused(tmp_path):
    with pytest.raises(KpodError, match="no such model folder"):
        load_tokenizer(str(tmp_path))


def test_a_name_in_a_config_and_its_folder_load_the_same(tiny_folder):
    by_name, by_folder = load_tokenizer("tiny:0"), load_tokenizer(tiny_folder)
    assert by_name.get_vocab() == by_folder.get_vocab()
    ours, theirs = (load_student(name, torch.float32) for name in ("tiny:0", tiny_folder))
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())


def test_a_tokenizer_with_more_tokens_than_its_model_is_refused(tiny_folder, tmp_path):
    for file in Path(tiny_folder).iterdir():
        shutil.copy(file, tmp_path)
    num_tokens = load_tokenizer(tiny_folder).vocab_size
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": num_tokens - 1}))
    with pytest.raises(
        KpodError, match=f"has {num_tokens} tokens, the model {num_tokens - 1}; take"
    ):
        check_vocabulary(str(tmp_path))
    check_vocabulary(tiny_folder)
