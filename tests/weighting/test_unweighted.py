from kpod_ray.data.examples import build_example
from kpod_ray.records import Question, Rationale
from kpod_ray.weighting.given_weights import unweighted

TEXT = "She has 3 eggs. 3 + 4 = 7."
RATIONALE = Rationale("q/0", "q", 0, TEXT, "t", "stop", 9, "7", "kept")


def test_every_token_weighs_1_and_steps_are_found(tiny_tokenizer):
    row = unweighted(RATIONALE, split_newlines=True)
    assert [TEXT[a:b].strip() for a, b in zip(row.step_starts, row.step_ends, strict=True)] == [
        "She has 3 eggs.",
        "3 + 4 = 7.",
    ]
    question = Question("q", "How many?", "7", "number", (), "train", "")
    example = build_example(tiny_tokenizer, question, row, "plain")
    assert example.token_weights == [1.0] * len(example.target_ids)
