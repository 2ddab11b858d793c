"""The length of a student's training: train steps of a stage, number of stages, and what is done."""

from __future__ import annotations

import dataclasses

from kpod_ray.config import StudentConfig
from kpod_ray.data.sampler import num_stage_train_steps
from kpod_ray.training.progress import TrainProgress


@dataclasses.dataclass(frozen=True)
class TrainingLength:
    """The length of a training with a number of planned stages, or with a budget of tokens in the loss.

    Without a token budget the planned stages are trained. With a budget, stages follow until the budget
    is used up, whatever their number.
    """

    config: StudentConfig
    """Settings of the student, of which ``global_batch_size``, ``loss_token_budget`` and
    ``accuracy_every_stages`` are used."""
    num_stages: int
    """N_e, number of planned stages."""
    num_examples: int
    """Number of training examples, those that a stage leaves out included."""

    def stage_train_steps(self) -> int:
        """Return the number of train steps of a stage."""
        return num_stage_train_steps(self.num_examples, self.config.global_batch_size)

    def num_train_steps(self) -> int:
        """Return the number of train steps of the planned stages."""
        return self.stage_train_steps() * self.num_stages

    def is_under_way(self, progress: TrainProgress) -> bool:
        """Return whether the current stage has to be trained or to be ended."""
        return progress.stage_steps > 0 or self.is_to_train(progress.stage, progress)

    def is_to_train(self, stage: int, progress: TrainProgress) -> bool:
        """Return whether a stage has to be trained, at the current progress."""
        if self.config.loss_token_budget is None:
            return stage <= self.num_stages
        return not self.is_used_up(progress)

    def is_used_up(self, progress: TrainProgress) -> bool:
        """Return whether the token budget is used up; never without a budget."""
        budget = self.config.loss_token_budget
        return budget is not None and progress.loss_tokens >= budget

    def done_fraction(self, progress: TrainProgress) -> float:
        """Return the fraction of the training that is done, in [0, 1)."""
        budget = self.config.loss_token_budget
        if budget is not None:
            return progress.loss_tokens / budget
        return progress.train_steps / self.num_train_steps()

    def needs_accuracy(self, progress: TrainProgress) -> bool:
        """Return whether the validation accuracy is measured after the current stage."""
        every = self.config.accuracy_every_stages
        stage = progress.stage
        return every is not None and (
            stage % every == 0 or not self.is_to_train(stage + 1, progress)
        )

    def summary(self, progress: TrainProgress) -> str:
        """Return how far the training has come, for a message."""
        return f"{progress.train_steps} of {self.num_train_steps()} train steps"
