"""Many greedy texts at once are the texts that the model writes one by one; others are drawn."""

from collections import Counter

import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from kpod_ray.data.prompts import NEXT_QUESTION, encode_prompt
from kpod_ray.inference.records import Completion, GenerationRequest
from kpod_ray.inference.transformers_generator import RequestGenerator, TextGenerator
from kpod_ray.inference.transformers_pool import GeneratorActor
from kpod_ray.models.sources import model_folder

QUESTIONS = [
    "2 + 3?",
    "How many eggs are left?",
    "A",
    "He has 12 apples and eats 5.",
    "B?",
    "C " * 9,
]
NEW_TOKENS = 12


@pytest.fixture(params=["llama", "gpt2", "t5"])
def model(request, tiny_tokenizer):
    """A random language model, and its tokenizer; its head isn't tied, so that it says many things."""
    torch.manual_seed(4)
    if request.param == "t5":
        folder = model_folder("tiny-t5:0")
        return AutoModelForSeq2SeqLM.from_pretrained(folder), tiny_tokenizer
    config, kind = (
        (LlamaConfig(hidden_size=64, intermediate_size=64, **SMALL), LlamaForCausalLM)
        if request.param == "llama"
        else (GPT2Config(n_embd=64, **SMALL), GPT2LMHeadModel)
    )
    return kind(config).eval(), tiny_tokenizer


SMALL = {
    "vocab_size": 259,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}


def prompts_of(tokenizer):
    return [encode_prompt(tokenizer, question, "plain") for question in QUESTIONS]


def alone(language_model, tokenizer, prompt, steps=NEW_TOKENS):
    """The most likely next token, again and again, by full forward passes of one sequence."""
    ids, written = list(prompt), []
    while len(written) < steps and tokenizer.eos_token_id not in written:
        if language_model.config.is_encoder_decoder:
            read = torch.tensor([[*ids, tokenizer.eos_token_id]])
            start = language_model.config.decoder_start_token_id
            logits = language_model(
                input_ids=read, decoder_input_ids=torch.tensor([[start, *written]])
            ).logits
        else:
            logits = language_model(torch.tensor([ids + written])).logits
        written.append(int(logits[0, -1].argmax()))
    return written


@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_texts_are_those_of_one_by_one_full_forward_passes(model, batch_size):
    language_model, tokenizer = model
    prompts = prompts_of(tokenizer)
    written = TextGenerator(language_model, tokenizer, NEW_TOKENS, None, 0).generate(
        prompts, batch_size
    )
    for row, prompt in zip(written, prompts, strict=True):
        expected = alone(language_model, tokenizer, prompt)
        assert row.text == tokenizer.decode(expected, skip_special_tokens=True)
        assert row.num_tokens == len(expected)
        is_ended = tokenizer.eos_token_id in expected
        assert row.finish_reason == ("stop" if is_ended else "length")


def test_a_text_ends_at_the_end_of_sequence_whatever_the_others_do(model):
    language_model, tokenizer = model
    prompts = prompts_of(tokenizer)
    # Some token that one of the texts holds becomes an end: texts then differ in length.
    end = alone(language_model, tokenizer, prompts[1])[4]
    generator = TextGenerator(language_model, tokenizer, NEW_TOKENS, None, 0)
    generator.end_ids = generator.model.generation_config.eos_token_id = [end]
    reasons = set()
    for row, prompt in zip(generator.generate(prompts, 128), prompts, strict=True):
        expected = alone(language_model, tokenizer, prompt)
        if end in expected:
            expected = expected[: expected.index(end) + 1]
        assert row.num_tokens == len(expected)
        assert row.text == tokenizer.decode(expected, skip_special_tokens=True)
        assert row.finish_reason == ("stop" if expected[-1] == end else "length")
        reasons.add(row.finish_reason)
    assert "stop" in reasons


def test_a_text_is_cut_before_the_stop_text(model):
    language_model, tokenizer = model
    prompts = prompts_of(tokenizer)
    expected = [alone(language_model, tokenizer, prompt) for prompt in prompts]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
    pairs = [text[i : i + 2] for text in texts for i in range(1, len(text) - 2)]
    stop = next(pair for pair in pairs if pair.isascii() and pair.isprintable())
    written = TextGenerator(language_model, tokenizer, NEW_TOKENS, stop, 0).generate(prompts, 128)
    assert any(stop in text for text in texts)
    for row, text, ids in zip(written, texts, expected, strict=True):
        assert row.text == text.partition(stop)[0]
        is_ended = stop in text or tokenizer.eos_token_id in ids
        assert row.finish_reason == ("stop" if is_ended else "length")
        if stop in text:
            until = next(n for n in range(NEW_TOKENS + 1) if stop in tokenizer.decode(ids[:n]))
            assert row.num_tokens == until


def test_the_stop_text_inside_the_prompt_stops_nothing(model):
    language_model, tokenizer = model
    prompt = encode_prompt(tokenizer, f"a{NEXT_QUESTION}", "plain")
    (row,) = TextGenerator(language_model, tokenizer, 4, NEXT_QUESTION, 0).generate([prompt], 1)
    assert row.num_tokens == 4


def test_a_prompt_that_leaves_no_room_is_an_error_and_the_others_are_answered(tiny_tokenizer):
    config = GPT2Config(
        vocab_size=len(tiny_tokenizer),
        n_positions=30,
        n_embd=16,
        n_layer=1,
        n_head=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    generator = TextGenerator(GPT2LMHeadModel(config).eval(), tiny_tokenizer, 10, None, 0)
    long, short = generator.generate([[5] * 21, [5] * 20], 2)
    assert (long.finish_reason, long.num_tokens) == ("error", 0)
    assert "21 tokens" in long.text
    assert (short.finish_reason, short.num_tokens) == ("length", 10)


def test_no_prompts_give_no_texts(model):
    assert TextGenerator(*model, 4, None, 0).generate([], 8) == []


def test_penalties_of_the_models_own_file_are_left_out(model):
    language_model, tokenizer = model
    language_model.generation_config.repetition_penalty = 5.0
    prompts = prompts_of(tokenizer)
    written = TextGenerator(language_model, tokenizer, NEW_TOKENS, None, 0).generate(prompts, 8)
    expected = [tokenizer.decode(alone(language_model, tokenizer, p)) for p in prompts]
    assert [row.text for row in written] == expected


def test_tokens_are_drawn_from_the_whole_softmax_at_the_temperature(model):
    language_model, tokenizer = model
    prompt, temperature, num_draws = prompts_of(tokenizer)[0], 0.5, 4000
    if language_model.config.is_encoder_decoder:
        start = torch.tensor([[language_model.config.decoder_start_token_id]])
        read = torch.tensor([[*prompt, tokenizer.eos_token_id]])
        logits = language_model(input_ids=read, decoder_input_ids=start).logits[0, -1]
    else:
        logits = language_model(torch.tensor([prompt])).logits[0, -1]
    probabilities = (logits.detach() / temperature).softmax(-1)
    expected, by_rank = Counter(), []
    for token in probabilities.argsort(descending=True).tolist():
        by_rank.append(tokenizer.decode([token], skip_special_tokens=True))
        expected[by_rank[-1]] += float(probabilities[token])
    torch.manual_seed(0)
    generator = TextGenerator(language_model, tokenizer, 1, None, temperature)
    drawn = Counter(row.text for row in generator.generate([prompt] * num_draws, num_draws))
    for text, share in expected.items():
        deviation = (share * (1 - share) / num_draws) ** 0.5
        assert abs(drawn[text] / num_draws - share) < 5 * deviation + 1 / num_draws
    # transformers' own default draws from the 50 most likely tokens
    assert (set(by_rank[50:]) - set(by_rank[:50])) & set(drawn)


def test_a_low_temperature_is_greedy(model):
    language_model, tokenizer = model
    prompts = prompts_of(tokenizer)
    greedy = TextGenerator(language_model, tokenizer, NEW_TOKENS, None, 0).generate(prompts, 8)
    cold = TextGenerator(language_model, tokenizer, NEW_TOKENS, None, 1e-4).generate(prompts, 8)
    assert cold == greedy


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_requests_get_the_texts_of_their_prompts_under_their_own_ids(model, template):
    language_model, tokenizer = model
    requests = [GenerationRequest(f"id {i}", text, i) for i, text in enumerate(QUESTIONS)]
    generator = RequestGenerator(language_model, tokenizer, template, "fp32", NEW_TOKENS, 0)
    prompts = [encode_prompt(tokenizer, text, template) for text in QUESTIONS]
    stop = NEXT_QUESTION if template == "plain" else None
    texts = TextGenerator(language_model, tokenizer, NEW_TOKENS, stop, 0).generate(prompts, 1)
    expected = [
        Completion(request.id, text.text, text.finish_reason, text.num_tokens, len(prompt))
        for request, text, prompt in zip(requests, texts, prompts, strict=True)
    ]
    assert generator.complete(requests, 2) == expected
    assert generator.complete(requests[::-1], 8) == expected[::-1]


@pytest.mark.parametrize("name", ["tiny:0", "tiny-t5:0"])
def test_an_actor_completes_a_table_of_requests(name):
    actor = GeneratorActor(name, "plain", "fp32", NEW_TOKENS)
    requests = [GenerationRequest(f"id {i}", text, i) for i, text in enumerate(QUESTIONS)]
    completions = Completion.from_table(actor(GenerationRequest.to_table(requests)))
    assert completions == actor.generator.complete(requests, 1)
    assert {row.logprob for row in completions} == {None}
