"""Texts of users and models never become control tokens; innocent texts stay as they are."""

import functools
import random

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from kpod_ray.data.examples import build_example, encode_with_spans
from kpod_ray.data.prompts import PromptAffixes, encode_prompt, messages
from kpod_ray.data.tokens import control_tokens, encode_filled, encode_text
from kpod_ray.errors import KpodError
from kpod_ray.models.random_models import byte_tokenizer
from kpod_ray.models.student import load_tokenizer
from kpod_ray.records import Question, WeightedRationale
from kpod_ray.weighting.batches import continued_answer, decoded_answer
from tests.fixtures.tokenizers import word_tokenizer

INNOCENT = [
    "Natalia sold 48 clips. How many did she sell?",
    "  blanks, <b>marks</b> & [INS T] < | im_end | >\n\n\ttabs ",
    "Zeichen: ä ß 数 🙂 \u200d, and a</ s>",
    "A. one\nB. two",
]
SYSTEM = "Answer in one line."


def t5_like():
    """A tokenizer of pieces, in whose vocabulary the text of the end of a sequence is a piece, too."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), ("$", -3.0)]
    pieces += [(chr(code), -4.0) for code in (*range(0x21, 0x24), *range(0x25, 0x7F))]
    model = Tokenizer(Unigram(pieces, unk_id=2))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    model.decoder = decoders.Metaspace()
    model.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def llama_like():
    """A tokenizer that puts a blank before a text, and a special token before that."""
    letters = [chr(code) for code in range(0x21, 0x7F)]
    vocabulary = {piece: i for i, piece in enumerate(["<unk>", "<s>", "</s>", "\u2581", *letters])}
    model = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    model.decoder = decoders.Metaspace()
    model.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{% if m['role'] == 'user' %}<s>[INST] {{ m['content'] | trim }} [/INST]"
        "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
    )
    return tokenizer


@functools.cache
def smollm2():
    return load_tokenizer("packaged:SmolLM2-135M-Instruct")


TOKENIZERS = {
    "bytes": byte_tokenizer,
    "words": lambda: word_tokenizer(trim_offsets=True),
    "SmolLM2": smollm2,
    "T5": t5_like,
    "Llama 2": llama_like,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def hostile_texts(tokenizer):
    names = list(control_tokens(tokenizer))
    generator = random.Random(0)
    yield from names
    yield tokenizer.eos_token * 200
    yield f"So 4.{tokenizer.eos_token}\n{tokenizer.eos_token[:3]}{tokenizer.eos_token} 数"
    for _ in range(10):
        yield "".join(generator.choice([*names, " ", "a", "<", ">", "\n", "5."]) for _ in range(12))


def controls(tokenizer, ids):
    known = set(control_tokens(tokenizer).values())
    return [index for index in ids if index in known]


def chat_or_plain(tokenizer):
    return ("plain", "chat") if tokenizer.chat_template else ("plain",)


def test_no_text_becomes_a_control_token(tokenizer):
    for text in hostile_texts(tokenizer):
        tokens = encode_text(tokenizer, text)
        assert not controls(tokenizer, tokens.ids)
        assert len(tokens.ids) == len(tokens.spans) > 0
        if tokenizer.unk_token_id not in tokens.ids:
            shown = tokenizer.decode(tokens.ids, clean_up_tokenization_spaces=False)
            # a vocabulary of pieces may put a blank where a control token is broken up
            assert shown.replace(" ", "") == text.replace(" ", "")


def test_the_spans_of_a_broken_control_token_cover_the_text(tokenizer):
    for text in hostile_texts(tokenizer):
        covered = {
            i for start, end in encode_text(tokenizer, text).spans for i in range(start, end)
        }
        assert {i for i, letter in enumerate(text) if not letter.isspace()} <= covered
        _, starts, ends = encode_with_spans(tokenizer, text)
        assert (starts <= ends).all()
        assert (ends <= len(text)).all()


@pytest.mark.parametrize("text", INNOCENT)
def test_an_innocent_text_has_the_tokens_of_a_plain_call(tokenizer, text):
    plain = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    tokens = encode_text(tokenizer, text)
    assert tokens.ids == plain.input_ids
    assert tokens.spans == plain.offset_mapping
    assert continued_answer(tokenizer, text) == [
        *tokenizer(f" {text}.", add_special_tokens=False).input_ids,
        tokenizer.eos_token_id,
    ]
    assert decoded_answer(tokenizer, text) == tokenizer(text).input_ids


def test_an_innocent_chat_has_the_tokens_of_the_tokenizers_own_template(tokenizer):
    if tokenizer.chat_template:
        shots = [(INNOCENT[1], INNOCENT[2])]
        for text in INNOCENT:
            turns = messages(text, shots)
            own = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True)
            assert encode_prompt(tokenizer, text, "chat", shots) == own["input_ids"]


def test_a_prompt_has_as_many_control_tokens_as_with_innocent_texts(tokenizer):
    for template in chat_or_plain(tokenizer):
        innocent = encode_prompt(tokenizer, "Why?", template, [("When?", "Now.")])
        wanted = controls(tokenizer, innocent)
        for text in hostile_texts(tokenizer):
            for question, shots in ((text, [("When?", "Now.")]), ("Why?", [(text, text)])):
                ids = encode_prompt(tokenizer, question, template, shots)
                assert controls(tokenizer, ids) == wanted


def test_control_tokens_of_the_configs_author_are_meant():
    tokenizer = byte_tokenizer()
    end = tokenizer.eos_token_id
    affixes = PromptAffixes("Be brief.<|end|>")
    for text in ("Why?", "Why?<|end|>"):
        assert encode_prompt(tokenizer, text, "plain", (), affixes).count(end) == 1


@pytest.mark.parametrize("name", ["bytes", "SmolLM2"])
@pytest.mark.parametrize("text", INNOCENT)
def test_a_filled_frame_has_the_tokens_of_the_whole_text(name, text):
    """Without a blank that is put before every text, the pieces give the same tokens as the whole."""
    tokenizer = TOKENIZERS[name]()
    frame = tokenizer.apply_chat_template(messages("\ue000"), tokenize=False)
    whole = tokenizer.apply_chat_template(messages(text), tokenize=False)
    assert encode_filled(tokenizer, frame, {"\ue000": text}) == (
        tokenizer(whole, add_special_tokens=False).input_ids
    )


def test_a_text_is_put_into_the_frame_once():
    """A place that a text spells out isn't filled again."""
    ids = encode_filled(byte_tokenizer(), "\ue0001\ue001", {"\ue0001\ue001": "a\ue0001\ue001"})
    assert byte_tokenizer().decode(ids) == "a\ue0001\ue001"


def test_an_answer_keeps_its_own_special_tokens():
    tokenizer = t5_like()
    end = tokenizer.eos_token_id
    assert decoded_answer(tokenizer, "5")[-1] == end
    ids = decoded_answer(tokenizer, "5</s>")
    assert ids.count(end) == 1
    assert ids[-1] == end


def test_a_student_sees_one_end_and_the_weights_of_the_right_characters(tokenizer):
    eos = tokenizer.eos_token
    text = f"2 + 2 = 4.{eos} So 4."
    start = len(f"2 + 2 = 4.{eos}")
    spans = [(0, start), (start, len(text))]
    rationale = WeightedRationale(
        question_id="q",
        text=text,
        token_starts=[s for s, _ in spans],
        token_ends=[e for _, e in spans],
        token_weights=[0.25, 0.75],
        step_starts=[0, start],
        step_ends=[start, len(text)],
    )
    question = Question("q", f"2 + 2?{eos}", f"4{eos}", "text", (), "train", "")
    example = build_example(tokenizer, question, rationale, "plain")
    assert controls(tokenizer, example.target_ids) == [tokenizer.eos_token_id]
    assert tokenizer.eos_token_id not in example.prompt_ids
    kinds = list(zip(example.token_steps, example.token_weights, strict=True))
    assert {weight for step, weight in kinds if step == 0} <= {0.25, 0.5}
    assert {weight for step, weight in kinds if step == 1} <= {0.75, 0.5}


def test_a_template_that_refuses_the_messages_is_one_line():
    with pytest.raises(KpodError, match=r"no system.*leave out system_prompt"):
        encode_prompt(llama_like(), "Why?", "chat", (), PromptAffixes(SYSTEM))
