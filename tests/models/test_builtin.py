"""The built-in models: small, in every installation, and ordinary models to all that loads them."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import builtin_models
from benchmarks.builtin_data import (
    MOST_STEPS,
    TEST_SEED,
    Stage,
    reserved_story,
    training_rows,
    unseen_questions,
    verbose_tokenizer,
    without_filler,
)
from kpod_ray.config import ArithmeticQuestions
from kpod_ray.data.prompts import encode_prompt, plain_text, target_text
from kpod_ray.errors import KpodError
from kpod_ray.models.check import check_model
from kpod_ray.models.folder_check import ModelUse
from kpod_ray.models.names import is_folder, without_folders
from kpod_ray.models.sources import (
    BUILTIN,
    builtin_folder,
    is_encoder_decoder,
    model_folder,
    model_hash,
)
from kpod_ray.models.student import load_student, load_tokenizer
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.questions.arithmetic_verbose import is_reserved

NAMES = [f"builtin:{name}" for name in BUILTIN]
TOKENIZER = verbose_tokenizer()
TINY = builtin_models.Recipe(
    "tiny",
    stages=(Stage(2, 2, 0.2), Stage(4, 4, 1)),
    num_falling=2,
    hidden_size=32,
    num_layers=1,
    num_heads=1,
    intermediate_size=32,
    batch_steps=8,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_both_and_their_card_have_at_most_8_megabytes_together():
    folders = [builtin_folder(name) for name in BUILTIN]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) <= 8e6
    card = (folders[0].parent / "README.md").read_text()
    assert all(name in card for name in NAMES)
    assert "python -m benchmarks.builtin_models" in card


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_model_is_an_ordinary_model_in_bf16(name):
    for use in (ModelUse("student", "chat"), ModelUse("teacher", "plain")):
        check_model(name, use)
        check_model(model_folder(name), use)  # all of its files
    assert not is_encoder_decoder(name)
    assert not is_folder(name)
    assert without_folders(name) == name
    model = AutoModelForCausalLM.from_pretrained(model_folder(name), dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert load_student(name, torch.float32).language_model.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_its_content_is_part_of_fingerprints(name):
    assert model_hash(name) == model_hash(model_folder(name)) != ""
    assert len({model_hash(each) for each in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", ["", "nothing", "../random_models", "teacher/"])
def test_an_unknown_built_in_model_is_an_error_that_names_the_known(name):
    for ask in (lambda m: check_model(m, ModelUse("student")), model_folder, model_hash):
        with pytest.raises(KpodError, match=f"builtin:{name}: known are student, teacher"):
            ask(f"builtin:{name}")


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_tokenizer_is_that_of_the_command(name):
    shipped = load_tokenizer(name)
    assert shipped.get_vocab() == TOKENIZER.get_vocab()
    for question in unseen_questions(16):
        text = question.question
        assert encode_prompt(shipped, text, "chat") == encode_prompt(TOKENIZER, text, "plain")


def test_a_token_is_a_word_a_sign_or_a_digit_and_any_text_comes_back():
    texts = [
        f"{plain_text(q.question)}{target_text(q.reference_rationale, q.answer)[0]}"
        for q in unseen_questions(80)
    ]
    for text in texts:
        ids = TOKENIZER(text).input_ids
        pieces = [TOKENIZER.decode([i]).strip() for i in ids]
        assert all(len(piece) <= 1 or piece.isalpha() for piece in pieces)
        # No word is spelled in letters: only "a", and the marks of a prompt, are one letter.
        assert not [p for p in pieces if len(p) == 1 and p.isalpha() and p not in "aAQ"]
        assert TOKENIZER.decode(ids) == text
    for text in ("", " Äh? 日本\n\n  x_y\t½ <b>", "12345 unknownword"):
        assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text
    assert 200 < len(TOKENIZER) < 600


def test_questions_of_the_training_are_of_no_seed():
    rng = random.Random(0)
    trained = {reserved_story(rng, 1 + i % MOST_STEPS).question for i in range(2000)}
    assert all(map(is_reserved, trained))
    config = ArithmeticQuestions(
        num_train=300, num_test=1200, style="verbose", max_steps=MOST_STEPS
    )
    for seed in (0, 1, TEST_SEED):
        generated = {question.question for question in generate_questions(config, seed)}
        assert not generated & trained
        assert not any(map(is_reserved, generated))


def test_every_row_of_an_update_is_a_reserved_question_with_its_answer():
    for stage in TINY.stages:
        rows = training_rows(TOKENIZER, random.Random(1), stage, 40)
        for row in rows:
            prompt = TOKENIZER.decode(row.prompt_ids)
            question = prompt.removeprefix("Q: ").removesuffix("\nA:\n")
            assert is_reserved(question)
            target = TOKENIZER.decode(row.target_ids)
            rationale, _, closing = target.partition(" Therefore, the answer is ")
            assert closing == f"{rationale.rpartition('= ')[2].split()[0].strip('.')}.<|end|>"
            assert 1 <= rationale.count("=") <= stage.most_steps
        num_steps = sum(TOKENIZER.decode(row.target_ids).count("=") for row in rows)
        assert 40 <= num_steps < 40 + stage.most_steps


def test_without_filler_a_name_and_the_equation_of_each_step_are_left():
    rationale = (
        "At first glance, what Uma did makes it 12 / 2 = 6 nuts in the old jar. Still reading on, Tom "
        "then leaves us with 6 * 3 = 18 nuts if we count them well."
    )
    assert without_filler(rationale) == "From Uma 12 / 2 = 6. From Tom 6 * 3 = 18."


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes_also_after_an_interruption(tmp_path):
    contents = []
    for name in ("whole", "again", "interrupted"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "interrupted":
            builtin_models.train(TINY, TOKENIZER, folder, end=2)
        builtin_models.make(TINY, folder, folder, num_questions=8)
        contents.append({path.name: path.read_bytes() for path in (folder / "tiny").iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert json.loads(contents[0]["config.json"])["dtype"] == "bfloat16"
