"""Loss and token accuracy of the student in training on the validation set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed

from kpod_ray.config import StudentConfig
from kpod_ray.data.examples import Example
from kpod_ray.data.sampler import batches_by_tokens
from kpod_ray.data.training_examples import supervised_example
from kpod_ray.errors import KpodError
from kpod_ray.models.student import Student
from kpod_ray.training.trainer import WorkerRank


class Validation:
    """Measures the student on the validation set, whose batches are shared out over the workers.

    Args:
        student: the student in training, in evaluation mode, which `measure` doesn't change.
        module: the student itself, or sharded, or wrapped in DDP; with several workers torch's process
            group is initialized.
        config: settings of the student; ``student.target`` changes the examples (`supervised_example`).
        examples: validation examples, at least one, as phase ``assess`` wrote them, the same on all
            workers.
        pad_id: token id of padding.
        worker: rank of this worker.

    Raises:
        KpodError: All targets are empty, as those of cut examples with ``student.target: answer``.
    """

    def __init__(
        self,
        student: Student,
        module: Any,
        config: StudentConfig,
        examples: Sequence[Example],
        pad_id: int,
        worker: WorkerRank,
    ) -> None:
        self.student = student
        self.module = module
        self.pad_id = pad_id
        self.worker = worker
        self.examples = [supervised_example(example, config) for example in examples]
        if not any(example.target_ids for example in self.examples):
            raise KpodError(
                "nothing of the validation questions is in the loss; raise student.max_length, or set "
                "student.overlength=drop"
            )
        lengths = [example.num_tokens() for example in self.examples]
        self.batches = batches_by_tokens(lengths, config.micro_batch_tokens)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return ``validation_loss`` and ``validation_token_accuracy`` on the whole validation set.

        The loss is the unweighted mean over tokens, in nats; the accuracy is the fraction of tokens that
        have the highest logit when the tokens before them are given. No step is given: all tokens of the
        targets count, those of the answer segments too. All workers must call this method, and get the
        same result.

        Raises:
            KpodError: The loss isn't finite.
        """
        device = next(self.student.parameters()).device
        sums = torch.zeros(3, dtype=torch.float64)
        rank, num_workers = self.worker.rank, self.worker.num_workers
        for i in range(math.ceil(len(self.batches) / num_workers)):
            # If the student is sharded, every pass needs all workers. So each worker runs the same
            # number of passes; a worker without a batch of its own repeats the last batch and doesn't
            # count it.
            number = i * num_workers + rank
            rows = self.batches[min(number, len(self.batches) - 1)]
            examples = [self.examples[row] for row in rows]
            batch = self.student.collate(examples, [0] * len(examples), self.pad_id).to(device)
            parts = self.module(batch)
            if number < len(self.batches):
                counts = (
                    parts.token_nll.sum(),
                    parts.is_top.sum(),
                    torch.tensor(len(batch.labels)),
                )
                sums += torch.stack([count.cpu().double() for count in counts])
        if num_workers > 1:
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        nll, top, tokens = sums.tolist()
        if not math.isfinite(nll):
            raise KpodError("the validation loss isn't finite; lower student.learning_rate")
        return {"validation_loss": nll / tokens, "validation_token_accuracy": top / tokens}
