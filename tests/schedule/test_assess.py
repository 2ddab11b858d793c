"""Examples that are too long for the student are set aside or cut, and told apart."""

import dataclasses
import math

import pytest

from kpod_ray.config import StudentConfig
from kpod_ray.data.examples import Example
from kpod_ray.errors import KpodError
from kpod_ray.records import Question, StepDifficulty, WeightedRationale
from kpod_ray.schedule.assess import MEASURES, Assessor, check_difficulties

TEXT = "Two and 2 are 4. Then 4 and 4 are 8. Then 8 and 8 are 16."


def requests(*ids):
    """Requests of the same rationale for several questions, each text longer than the one before."""
    questions = [Question(i, "How many?", "16", "number", (), "train", "") for i in ids]
    texts = [TEXT * (n + 1) for n in range(len(ids))]
    rationales = [
        WeightedRationale(i, text, [0], [len(text)], [0.5], [0, 17], [17, len(text)])
        for i, text in zip(ids, texts, strict=True)
    ]
    table = Question.to_table(questions)
    weighted = WeightedRationale.to_table(rationales)
    for name in weighted.schema.names:
        table = table.append_column(weighted.schema.field(name), weighted[name])
    return table


@pytest.mark.parametrize("model", ["tiny:0", "tiny-t5:0"])
def test_difficulties_are_the_same_without_kernels(model):
    difficulties = []
    for kernels in (True, False):
        config = StudentConfig(model=model, template="plain", kernels=kernels)
        assessed = Assessor(config)(requests("short", "long"))
        difficulties.append([d for row in assessed["step_difficulties"].to_pylist() for d in row])
    assert len(difficulties[0]) == 4
    assert difficulties[1] == pytest.approx(difficulties[0], rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("measure", MEASURES)
def test_a_difficulty_that_is_not_finite_is_refused(measure, value):
    rows = [StepDifficulty(i, [1.0, 0.0], [2.0, 0.0]) for i in ("first", "second", "third")]
    check_difficulties(StepDifficulty.to_table(rows), "m")
    rows[1] = dataclasses.replace(rows[1], **{measure: [1.0, value]})
    rows[2] = dataclasses.replace(rows[2], **{measure: [value]})
    with pytest.raises(KpodError, match=r"^the loss of question second .* check model m, or set"):
        check_difficulties(StepDifficulty.to_table(rows), "m")


@pytest.mark.parametrize("overlength", ["drop", "cut"])
def test_a_long_example_is_dropped_or_cut_at_a_step(overlength):
    config = StudentConfig(model="tiny:0", template="plain", max_length=128, overlength=overlength)
    assessed = Assessor(config)(requests("short", "long"))
    short, long = Example.from_table(assessed)
    difficulties = assessed["step_difficulties"].to_pylist()
    assert short.num_tokens() <= 128
    assert len(difficulties[0]) == short.num_steps == 2
    if overlength == "drop":
        assert long.num_tokens() > 128
        assert difficulties[1] == []
        assert assessed["is_cut"].to_pylist() == [False, False]
    else:
        assert len(difficulties[1]) == long.num_steps == 1
        assert assessed["is_cut"].to_pylist() == [False, True]
        assert difficulties[1][0] == pytest.approx(difficulties[0][0], rel=1e-4)
