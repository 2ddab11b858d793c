"""What depends on the kind of teacher, for each of them."""

import pytest

from kpod_ray.config import ArithmeticQuestions, RunConfig
from kpod_ray.errors import KpodError
from kpod_ray.inference.requests import generation_requests
from kpod_ray.questions.arithmetic import generate_questions
from kpod_ray.records import Question
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store
from kpod_ray.teacher import kinds
from kpod_ray.teacher.phase import teacher_samples
from tests.json_lines import write_lines


def teacher(kind, **settings):
    run = {"name": "t", "teacher": {"kind": kind, **settings}, "student": {"model": "tiny:0"}}
    return RunConfig.model_validate(run).teacher


def endpoint(**settings):
    return teacher("endpoint", model="m", base_url="http://127.0.0.1:1/v1", **settings)


def test_a_missing_model_and_one_that_only_reads_are_found_before_a_run(tmp_path):
    with pytest.raises(KpodError, match="nowhere") as missing:
        kinds.check(teacher("vllm", model=str(tmp_path / "nowhere")))
    with pytest.raises(KpodError, match="tiny-t5:0: vLLM takes no encoder-decoder") as reads:
        kinds.check(teacher("vllm", model="tiny-t5:0"))
    assert "\n" not in f"{missing.value}{reads.value}"
    kinds.check(teacher("vllm", model="tiny:0"))


def test_a_teacher_that_may_never_be_asked_needs_nothing_before_a_run():
    for fine in (endpoint(), teacher("file", path="nowhere.jsonl"), teacher("reference")):
        kinds.check(fine)


def test_the_hash_is_of_the_content_of_models_and_files(tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_text("{}")
    second.write_text("{}")
    hash_of = kinds.content_hash
    assert hash_of(teacher("file", path=str(first))) == hash_of(teacher("file", path=str(second)))
    before = hash_of(teacher("file", path=str(first)))
    first.write_text("[]")
    assert hash_of(teacher("file", path=str(first))) != before
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "config.json").write_text(str(number))
    one, two = (hash_of(teacher("vllm", model=str(folder))) for folder in folders)
    assert one != two
    assert hash_of(endpoint()) == hash_of(teacher("reference")) == ""
    with pytest.raises(KpodError, match=r"nowhere\.jsonl"):
        hash_of(teacher("file", path=str(tmp_path / "nowhere.jsonl")))


@pytest.mark.parametrize(
    ("settings", "name", "line"),
    [
        ({"kind": "vllm", "model": "org/big"}, "org/big", "`org/big`"),
        ({"kind": "vllm", "model": "/secret/big"}, "/secret/big", "`big`"),
        ({"kind": "endpoint", "model": "m", "base_url": "http://h/v1"}, "m", "`m`"),
        ({"kind": "file", "path": "/secret/palm.jsonl"}, "palm", "`palm`"),
        ({"kind": "file", "path": "/secret/palm.jsonl", "name": "PaLM"}, "PaLM", "`PaLM`"),
        ({"kind": "reference"}, "reference", "the questions' own rationales"),
    ],
)
def test_names_in_rows_and_on_cards(settings, name, line):
    assert kinds.name_of(teacher(**settings)) == name
    assert kinds.card_line(teacher(**settings)) == line


def test_only_a_teacher_with_a_price_has_costs():
    priced = endpoint(price={"input": 2.0, "output": 10.0})
    assert kinds.cost(priced, 1_000_000, 500_000) == pytest.approx(7)
    assert kinds.cost(endpoint(), 10, 10) == 0
    free = [teacher("vllm", model="tiny:0"), teacher("reference"), teacher("file", path="-")]
    assert [kinds.cost(kind, 10, 10) for kind in free] == [None] * 3


def test_the_estimate_is_of_the_requests():
    samples = {"per_question": 2, "retry_rounds": 3}
    priced = endpoint(price={"output": 1000.0}, samples=samples, max_new_tokens=100)
    questions = generate_questions(ArithmeticQuestions(num_train=50, num_test=0), 0)
    requests = list(generation_requests(questions, range(2), "f"))
    estimate = kinds.estimated_cost(priced, [], requests)
    assert (estimate.num_requests, estimate.largest) == (100, pytest.approx(10))
    num_chars = sum(len(f"Q: {question.question}\nA:\n") for question in questions)
    assert estimate.num_prompt_tokens == pytest.approx(2 * num_chars / 4)
    assert kinds.estimated_cost(teacher("vllm", model="tiny:0"), [], requests) is None


def test_rationales_that_exist_are_found_by_question_each_once(tmp_path):
    rows = [("q1", "a"), ("zz", "b"), ("q0", "c"), ("q1", "d")]
    path = tmp_path / "rationales.jsonl"
    write_lines(path, [{"id": i, "rationale": t} for i, t in rows])
    store = Store.open(str(tmp_path / "store"))
    artifact = Artifact.of(store, "teacher", 1, {}, [])
    questions = [Question(f"q{i}", f"{i}?", "1", "number", (), "train", "") for i in range(3)]
    artifact.write("questions", Question.to_table(questions))

    def texts(settings):
        run = {"name": "t", "teacher": settings, "student": {"model": "tiny:0"}}
        config = RunConfig.model_validate(run)
        corpus = teacher_samples(config, artifact, artifact, lambda done, rows: None, print)
        found = corpus.samples_of(questions[:2], 0) + corpus.samples_of(questions[2:], 2)
        others = [sample.text for sample in corpus.others()]
        return corpus.teacher, [[s.text for s in of_one] for of_one in found], others

    of_file = texts({"kind": "file", "path": str(path)})
    assert of_file == ("rationales", [["c"], ["a", "d"], []], ["b"])
    assert texts({"kind": "reference"}) == ("reference", [[], [], []], [])
