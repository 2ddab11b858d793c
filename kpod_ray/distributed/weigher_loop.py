"""What one worker of the weighter's training does: adapt the predictor, then learn the weights.

A predictor that has never seen masked rationales is not hurt by masking, so that nothing would hold
the weights up. It first learns to read rationales masked at random; then it is frozen.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed
from ray.train import Checkpoint
from ray.train.torch import prepare_model
from safetensors.torch import load_model, save_model

from kpod_ray.artifacts import Store
from kpod_ray.config import WeigherConfig
from kpod_ray.data.batching import worker_share
from kpod_ray.data.masked import MaskedSampler, build_masked_example, hold_back, stack_noise
from kpod_ray.data.prompts import Template
from kpod_ray.models.checkpoints import load_state, save_state
from kpod_ray.models.folders import MODEL_CACHE, model_folder
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.models.weighter import AnswerPredictor, KeypointLoss, build_weighter
from kpod_ray.records import Question, Rationale

VALIDATION_STEP = 2**31
"""Train step of the draws that all validations share."""
VALIDATION_BATCH = 16
MAX_GRAD_NORM = 1.0


@dataclasses.dataclass(frozen=True)
class WeigherJob:
    """Everything a worker needs to know; plain values."""

    weigher: WeigherConfig
    model: str
    template: Template
    seed: int
    storage: str
    questions: str
    """Path in the store of the table of questions."""
    rationales: str
    """Path in the store of the table of rationales."""
    folder: str
    """Folder in the store to write to."""
    num_threads: int


@dataclasses.dataclass
class Position:
    """How far the training is."""

    train_step: int = 0
    best_loss: float = float("inf")
    num_worse: int = 0
    """Validations since the best one."""
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)


def weigher_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Train the weighter, write the best one, return its history."""
    job: WeigherJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    worker = _Worker(job, settings["board"])
    worker.adapt()
    position = worker.learn()
    return {"history": position.history, "best_loss": position.best_loss}


class _Worker:
    """The state of one worker."""

    def __init__(self, job: WeigherJob, board: Any) -> None:
        context = ray.train.get_context()
        self.rank, self.num_workers = context.get_world_rank(), context.get_world_size()
        self.job, self.board, self.store = job, board, Store.open(job.storage)
        folder = model_folder(job.model, MODEL_CACHE)
        dtype = torch.bfloat16 if job.weigher.precision == "bf16" else torch.float32
        torch.manual_seed(job.seed)
        language_model = load_student(folder, dtype).language_model
        self.weighter = build_weighter(language_model, job.weigher.num_heads)
        self.predictor = AnswerPredictor(language_model, dtype)
        self.training, self.validation = self._samplers(folder)

    def _samplers(self, folder: str) -> tuple[MaskedSampler, MaskedSampler]:
        job, tokenizer = self.job, load_tokenizer(folder)
        questions = Question.from_table(self.store.read_table(job.questions))
        by_id = {question.id: question for question in questions}
        rationales = Rationale.from_table(self.store.read_table(job.rationales))
        examples = [
            build_masked_example(tokenizer, by_id[r.question_id], r.text, job.template)
            for r in rationales
        ]
        weigher = job.weigher
        splits = hold_back(
            [r.question_id for r in rationales],
            weigher.validation_fraction,
            weigher.max_validation,
            job.seed,
        )
        training, validation = (
            MaskedSampler(
                [examples[i] for i in part],
                size,
                weigher.whole_fraction,
                job.seed,
                pad_id(tokenizer),
            )
            for part, size in zip(
                splits, (weigher.global_batch_size, VALIDATION_BATCH), strict=True
            )
        )
        return training, validation

    def adapt(self) -> None:
        """Teach the predictor to read masked rationales; skipped where an earlier try did it."""
        path, weigher = f"{self.job.folder}/adapted.safetensors", self.job.weigher
        module = prepare_model(self.predictor)
        if not self.store.exists(path):
            vector = self.predictor.mask_vector
            others = list(self.predictor.language_model.parameters())
            groups = [
                {"params": [vector], "lr": weigher.mask_vector_learning_rate},
                {"params": others, "lr": weigher.adapt_learning_rate},
            ]
            optimizer = torch.optim.AdamW(groups)
            for train_step in range(weigher.num_adapt_steps):
                indices = self.training.indices(train_step)
                mine = worker_share(indices, self.rank, self.num_workers)
                batch, draws = self.training.batch(mine, train_step)
                batch, uniform = batch.to(vector.device), stack_noise(draws).to(vector.device)
                shares = torch.tensor([[d.kept_share] for d in draws], device=vector.device)
                answer_nll = module(batch, (uniform < shares).float())
                self._update(answer_nll.sum() / len(indices), module, optimizer)
                self._post(train_step + 1, {"adapt_loss": float(answer_nll.detach().mean())})
            self._save(self.predictor, path)
            _barrier(self.num_workers)
        self._load(self.predictor, path)

    def learn(self) -> Position:
        """Train the weighter against the frozen predictor; stop when validation gets no better."""
        weigher = self.job.weigher
        self.predictor.requires_grad_(False)
        loss = KeypointLoss(self.weighter, self.predictor, weigher)
        module = prepare_model(loss)
        optimizer = torch.optim.AdamW(self.weighter.parameters(), lr=weigher.learning_rate)
        position = self._restore(optimizer)
        while position.train_step < weigher.num_train_steps:
            if position.num_worse >= weigher.patience:
                break
            draw_step = weigher.num_adapt_steps + position.train_step
            indices = self.training.indices(draw_step)
            mine = worker_share(indices, self.rank, self.num_workers)
            batch, draws = self.training.batch(mine, draw_step)
            uniform = stack_noise(draws).to(self._device())
            total, _, _ = module(batch.to(self._device()), uniform)
            self._update(total / len(indices), module, optimizer)
            position.train_step += 1
            loss_here = float(total.detach()) / len(mine)
            self._post(weigher.num_adapt_steps + position.train_step, {"loss": loss_here})
            is_last = position.train_step == weigher.num_train_steps
            if is_last or position.train_step % weigher.validate_every == 0:
                self._validate(loss, position)
                self._checkpoint(optimizer, position)
        return position

    def _post(self, train_step: int, metrics: dict[str, float]) -> None:
        """Show rank 0's own part of a train step; adaptation and learning are counted together."""
        if self.rank == 0:
            total = self.job.weigher.num_adapt_steps + self.job.weigher.num_train_steps
            position = {"train_step": train_step, "num_train_steps": total}
            self.board.post.remote({**position, **metrics})

    def _device(self) -> torch.device:
        return self.predictor.mask_vector.device

    def _update(self, loss: torch.Tensor, module: Any, optimizer: torch.optim.Optimizer) -> None:
        # DDP averages over the workers: times their number makes it a sum.
        (loss * self.num_workers).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def _validate(self, loss: KeypointLoss, position: Position) -> None:
        """Measure the loss with noise that never changes; keep the best weighter."""
        count = len(self.validation.examples)
        mine = worker_share(range(count), self.rank, self.num_workers)
        sums = torch.zeros(2, device=self._device())
        for start in range(0, len(mine), VALIDATION_BATCH):
            part = mine[start : start + VALIDATION_BATCH]
            batch, draws = self.validation.batch(part, VALIDATION_STEP)
            uniform = stack_noise(draws).to(self._device())
            _, answer_nll, kept_share = loss(batch.to(self._device()), uniform)
            sums += torch.stack([answer_nll.sum(), kept_share.sum()])
        if self.num_workers > 1:
            torch.distributed.all_reduce(sums)
        answer_loss, kept = (sums / count).tolist()
        validation_loss = answer_loss + self.job.weigher.mask_ratio_weight * kept
        row = {"validation_loss": validation_loss, "answer_loss": answer_loss, "kept_share": kept}
        position.history.append({"train_step": position.train_step, **row})
        self._post(self.job.weigher.num_adapt_steps + position.train_step, row)
        position.num_worse += 1
        if validation_loss < position.best_loss:
            position.best_loss, position.num_worse = validation_loss, 0
            self._save(self.weighter, f"{self.job.folder}/weighter.safetensors")

    def _checkpoint(self, optimizer: torch.optim.Optimizer, position: Position) -> None:
        checkpoint = None
        with tempfile.TemporaryDirectory() as name:
            if self.rank == 0:
                save_state(self.weighter, optimizer, Path(name))
                (Path(name) / "position.json").write_text(json.dumps(dataclasses.asdict(position)))
                checkpoint = Checkpoint.from_directory(name)
            ray.train.report({"train_step": position.train_step}, checkpoint=checkpoint)

    def _restore(self, optimizer: torch.optim.Optimizer) -> Position:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return Position()
        with checkpoint.as_directory() as folder:
            load_state(self.weighter, optimizer, Path(folder))
            return Position(**json.loads((Path(folder) / "position.json").read_text()))

    def _save(self, module: torch.nn.Module, path: str) -> None:
        if self.rank == 0:
            with tempfile.TemporaryDirectory() as name:
                save_model(module, f"{name}/module.safetensors")
                self.store.upload(Path(name) / "module.safetensors", path)

    def _load(self, module: torch.nn.Module, path: str) -> None:
        with tempfile.TemporaryDirectory() as name:
            self.store.fetch(path, Path(name) / "module.safetensors")
            load_model(module, f"{name}/module.safetensors")


def _barrier(num_workers: int) -> None:
    if num_workers > 1:
        torch.distributed.barrier()
