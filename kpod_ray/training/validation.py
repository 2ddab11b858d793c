"""How a student in training does on examples that it is never trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed

from kpod_ray.config import StudentConfig
from kpod_ray.data.examples import Example, training_example
from kpod_ray.data.sampler import batches_by_tokens
from kpod_ray.models.student import Student
from kpod_ray.training.trainer import WorkerRank


class Validation:
    """The examples held out, and the workers that share them.

    Args:
        student: what is trained.
        module: the student, wrapped for several workers if there are several.
        config: how it is trained.
        examples: those held out, at least one.
        pad_id: token to pad with.
        place: which worker this is.
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
        self.student, self.module, self.pad_id, self.worker = student, module, pad_id, worker
        self.examples = [training_example(example, config) for example in examples]
        lengths = [example.num_tokens() for example in self.examples]
        self.batches = batches_by_tokens(lengths, config.micro_batch_tokens)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the mean loss of a token, in nats, unweighted, and the share of likeliest tokens.

        Nothing is given: all reasoning steps are written. Every worker must call it, and gets the same.
        """
        device = next(self.student.parameters()).device
        sums = torch.zeros(3, dtype=torch.float64)
        rank, num_workers = self.worker.rank, self.worker.num_workers
        for i in range(math.ceil(len(self.batches) / num_workers)):
            # As many passes on each worker, since workers that shard need each other for every one.
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
        return {"validation_loss": nll / tokens, "validation_token_accuracy": top / tokens}
