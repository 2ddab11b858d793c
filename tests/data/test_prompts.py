"""What a model reads, plain and in chat form, and what a student writes."""

import dataclasses

import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from kpod_ray.data.prompts import encode_prompt, question_text, target_text, worked_examples
from kpod_ray.errors import KpodError
from kpod_ray.records import Question

SHOTS = [("1 + 1?", "One more. Therefore, the answer is 2."), ("2 + 2?", "That is 4.")]


def question(name, reference="", choices=()):
    return Question(name, f"What is {name}?", "5", "number", choices, "train", reference)


def word_level(*, adds_bos):
    vocabulary = {"<s>": 0, "</s>": 1, "?": 2, "Q": 3, ":": 4, "How": 5, "many": 6, "A": 7}
    model = Tokenizer(WordLevel(vocabulary, unk_token="?"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_bos:
        model.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=model, bos_token="<s>", eos_token="</s>")


def test_a_question_without_choices_is_read_as_it_stands():
    assert question_text(question("x")) == "What is x?"


def test_choices_are_lettered_below_the_question():
    text = question_text(question("x", choices=("a bank", "a boat", "B")))
    assert text == "What is x?\nAnswer choices:\nA. a bank\nB. a boat\nC. B"


@pytest.mark.parametrize(
    ("rationale", "text", "answer_start"),
    [
        ("2 + 3 = 5.", "2 + 3 = 5. Therefore, the answer is 5.", 10),
        ("2 + 3 = 5. \n", "2 + 3 = 5. Therefore, the answer is 5.", 10),
        ("", "Therefore, the answer is 5.", 0),
    ],
)
def test_a_target_is_the_rationale_the_closing_and_the_answer(rationale, text, answer_start):
    assert target_text(rationale, "5") == (text, answer_start)


def test_a_plain_prompt_by_hand(tiny_tokenizer):
    ids = encode_prompt(tiny_tokenizer, "3 + 3?", "plain", SHOTS)
    assert tiny_tokenizer.decode(ids) == (
        "Q: 1 + 1?\nA:\nOne more. Therefore, the answer is 2.\n\n"
        "Q: 2 + 2?\nA:\nThat is 4.\n\n"
        "Q: 3 + 3?\nA:\n"
    )


def test_a_chat_prompt_by_hand(tiny_tokenizer):
    ids = encode_prompt(tiny_tokenizer, "3 + 3?", "chat", SHOTS[:1])
    assert tiny_tokenizer.decode(ids) == (
        "<|start|>user\n1 + 1?<|end|>\n"
        "<|start|>assistant\nOne more. Therefore, the answer is 2.<|end|>\n"
        "<|start|>user\n3 + 3?<|end|>\n"
        "<|start|>assistant\n"
    )
    assert ids.count(tiny_tokenizer.convert_tokens_to_ids("<|start|>")) == 4


@pytest.mark.parametrize("adds_bos", [True, False])
def test_a_plain_prompt_begins_with_bos_exactly_where_the_tokenizer_adds_it(adds_bos):
    tokenizer = word_level(adds_bos=adds_bos)
    ids = encode_prompt(tokenizer, "How many ?", "plain")
    assert ids == [0] * adds_bos + [3, 4, 5, 6, 2, 7, 4]


def test_a_model_without_chat_template_is_named(words):
    with pytest.raises(KpodError, match="no chat template; set template: plain"):
        encode_prompt(words, "3 + 3?", "chat")


def test_worked_examples_are_questions_with_their_reference_and_answer():
    shots = worked_examples([question("a", "2 + 3 = 5."), question("b"), question("c", "So.")], 1)
    assert shots == [
        ("What is a?", "2 + 3 = 5. Therefore, the answer is 5."),
        ("What is c?", "So. Therefore, the answer is 5."),
    ]


@pytest.mark.parametrize("num_shots", [1, 2, 3])
def test_every_question_has_enough_worked_examples_besides_itself(num_shots):
    questions = [question(name, "Because.") for name in "abcde"]
    shots = worked_examples(questions, num_shots)
    for asked in questions:
        others = [shot for shot in shots if shot[0] != question_text(asked)]
        assert num_shots <= len(others) <= num_shots + 1


def test_a_question_without_a_gold_answer_is_no_worked_example():
    rows = [question("a", "So."), question("b", "So."), question("c", "So.")]
    rows[0] = dataclasses.replace(rows[0], answer="")
    shots = worked_examples(rows, 1)
    assert [target for _, target in shots] == [target_text("So.", rows[1].answer)[0]] * 2
    assert [text for text, _ in shots] == [question_text(row) for row in rows[1:]]
    with pytest.raises(
        KpodError, match="only 2 training questions carry a reference rationale and"
    ):
        worked_examples(rows, 2)


def test_no_shots_take_no_worked_examples():
    assert worked_examples([question("a", "Because.")], 0) == []


def test_too_few_references_are_an_error_that_counts_them():
    with pytest.raises(KpodError, match=r"num_shots=3: only 1 training questions carry"):
        worked_examples([question("a", "Because."), question("b")], 3)
