import dataclasses

import pytest
import torch

from kpod_ray.report.plotting import Histogram
from kpod_ray.report.run.data import Accuracy, TrainPoint
from kpod_ray.training.metrics import NUM_SUMS, step_metrics


@pytest.mark.parametrize(
    ("num_correct", "num_questions", "low", "high"),
    [(5, 4, 0.1, 0.9), (-1, 4, 0.1, 0.9), (1, 4, 0.9, 0.1), (1, 4, -0.1, 0.5), (1, 4, 0.1, 1.1)],
)
def test_an_impossible_accuracy_is_refused(num_correct, num_questions, low, high):
    with pytest.raises(ValueError, match="student"):
        Accuracy("student", num_correct, num_questions, low, high)


def test_an_interval_may_leave_the_range_by_rounding():
    assert Accuracy("student", 0, 4, -1e-17, 0.6).low < 0


def test_the_share_is_correct_answers_by_questions():
    assert Accuracy("student", 3, 12, 0.1, 0.5).share == 0.25


@pytest.mark.parametrize(("edges", "counts"), [((0.0,), (1,)), ((0.0, 1.0), ()), ((), (1,))])
def test_edges_that_do_not_match_the_counts_are_refused(edges, counts):
    with pytest.raises(ValueError, match="edges"):
        Histogram(edges, counts)


def test_a_histogram_may_be_empty():
    assert Histogram().counts == ()


def test_the_points_of_a_training_are_metrics_of_its_train_steps():
    names = {field.name for field in dataclasses.fields(TrainPoint)}
    assert names - {"train_step", "stage"} <= set(step_metrics(torch.zeros(NUM_SUMS), 1))
