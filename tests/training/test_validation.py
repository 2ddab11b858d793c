"""The loss on the validation set: by hand, and refused where it is no number."""

import pytest
import torch

from kpod_ray.config import StudentConfig
from kpod_ray.errors import KpodError
from kpod_ray.models.student import load_student
from kpod_ray.training.trainer import WorkerRank
from kpod_ray.training.validation import Validation


def validation_of(folder, examples, **settings):
    student = load_student(folder, torch.float32).eval()
    config = StudentConfig(model="tiny:0", **settings)
    return Validation(student, student, config, examples, 0, WorkerRank(0, 1))


@torch.no_grad()
def test_the_loss_is_the_mean_over_all_tokens(tiny_folder, examples):
    validation = validation_of(tiny_folder, examples, micro_batch_tokens=1)
    total, count = 0.0, 0
    for example in examples:
        ids = torch.tensor([[*example.prompt_ids, *example.target_ids]])
        logits = validation.student.language_model(ids).logits[0, len(example.prompt_ids) - 1 : -1]
        labels = torch.tensor(example.target_ids)
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    assert validation.measure()["validation_loss"] == pytest.approx(total / count, rel=1e-4)


def test_a_loss_that_is_no_number_is_refused(tiny_folder, examples):
    validation = validation_of(tiny_folder, examples)
    with torch.no_grad():
        next(validation.student.parameters())[5] = float("nan")
    with pytest.raises(KpodError, match=r"^the validation loss isn't finite; lower student"):
        validation.measure()


def test_a_validation_set_without_targets_is_refused_at_the_start(tiny_folder, examples):
    empty = [e.with_target(()) for e in examples]
    with pytest.raises(KpodError, match=r"^nothing of the validation questions is in the loss"):
        validation_of(tiny_folder, empty)
    # beside an example with a target, such an example is no trouble
    mixed = validation_of(tiny_folder, [empty[0], *examples[1:]], packing=False)
    assert mixed.measure()["validation_loss"] > 0
