"""The training of the token weighter on one Ray Train worker, in two parts.

A predictor that has never read masked rationales predicts answers no worse when keypoints are masked.
The weighter would then learn to mask everything. Therefore the predictor is first trained on randomly
masked rationales (adaptation), and then frozen while the weighter is trained.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import ray.train
import torch
import torch.distributed
from ray.train.torch import prepare_model

from kpod_ray.algorithm.keypoint_mask import annealed_temperature
from kpod_ray.cluster.departure import Departure, departing
from kpod_ray.cluster.train_checkpoints import Saved, restore, save, wait_until_saved
from kpod_ray.config import LearnedWeighting
from kpod_ray.data.sampler import worker_share
from kpod_ray.errors import KpodError
from kpod_ray.models.device import compute_dtype
from kpod_ray.models.finite import check_finite
from kpod_ray.models.safetensors_state import fetch_module, upload_module
from kpod_ray.models.student import load_student, load_tokenizer, pad_id
from kpod_ray.records import Question, Rationale
from kpod_ray.storage.artifacts import Store
from kpod_ray.weighting.batches import (
    MaskedExample,
    build_masked_example,
)
from kpod_ray.weighting.job import WeightingJob
from kpod_ray.weighting.model import KeypointLoss, build_weighter
from kpod_ray.weighting.predictors import AnswerPredictor, other_predictor, student_predictor
from kpod_ray.weighting.quality import collapse_of
from kpod_ray.weighting.sampler import MaskedSampler, split_examples, stack_noise
from kpod_ray.weighting.validation import WeightingProgress, WeightingValidation

_ADAPTATION = "adaptation"
_TRAINING = "training"
MAX_GRAD_NORM = 1.0
"""Largest norm of all gradients together in a train step; larger gradients are scaled down."""


def train_weighter(settings: dict[str, Any]) -> dict[str, Any]:
    """Train the weighter and write the parameters of the best one to ``weighter.safetensors``.

    Every worker calls this function inside Ray Train; rank 0 writes to the folder of the job. A training
    that was interrupted continues from the adapted predictor, if written, and from the newest undamaged
    checkpoint. The call sets torch's number of threads and global seed.

    Args:
        settings: ``job``, a `WeightingJob`, and ``board``, the handle of the `MetricsBoard` actor, to
            which rank 0 posts the metrics of every train step and validation.

    Returns:
        By name: the fields of `WeightingProgress`; ``quality`` of the best weighter's weights, from
        `WeightingValidation.quality`; and ``warnings``, a text for each damaged checkpoint. Without a
        sound validation, the best weighter is that of the last validation. Or only ``error``, the
        message of a `KpodError`: as in `build_parts`, the checkpoints belong to another artifact, or the
        parameters of the predictor or the weighter aren't finite.

    Raises:
        OSError, ValueError: As in `build_parts`; or the store fails (OSError).
        RuntimeError: The adapted predictor or the checkpoint has parameters of other names or shapes
            than the models of the job.
    """
    job: WeightingJob = settings["job"]
    torch.set_num_threads(job.num_threads)
    try:
        worker = _Worker(job, settings["board"])
        with departing(job.folder) as departure:
            if not worker.adapt(departure) or (progress := worker.learn(departure)) is None:
                return departure.leave(worker.kept())
        quality = worker.quality()
    except KpodError as error:
        # All workers get the same error. Ray Train would retry after a raised error, which can't help.
        return {"error": str(error)}
    return {**dataclasses.asdict(progress), "quality": quality, "warnings": worker.warnings}


class _Worker:
    """The training on one worker of Ray Train."""

    def __init__(self, job: WeightingJob, board: Any) -> None:
        context = ray.train.get_context()
        self.rank = context.get_world_rank()
        self.num_workers = context.get_world_size()
        self.job = job
        self.board = board
        self.store = Store.open(job.storage)
        torch.manual_seed(job.seed)  # all workers begin with the same weighter
        self.loss, self.training, validation = build_parts(job, self.store)
        self.validation = WeightingValidation(validation, self.loss)
        self.train_step = 0

    def adapt(self, departure: Departure) -> bool:
        """Train the predictor on randomly masked rationales, or load a predictor trained before.

        Returns:
            Whether the predictor is trained; False if a worker wants to leave; a checkpoint is saved.
        """
        path = f"{self.job.folder}/adapted.safetensors"
        weighting = self.job.weighting
        predictor = self.loss.predictor
        module = prepare_model(predictor)
        self.loss.to(predictor.device)
        if not self.store.exists(path):
            optimizer = torch.optim.AdamW(_adapting(predictor, weighting), fused=True)
            sampler = dataclasses.replace(self.training, prefixes="sampled")
            saved = self._restore(predictor, optimizer, _ADAPTATION)
            first = 0 if saved is None else saved.progress["train_step"]
            for train_step in range(first, weighting.num_adapt_steps):
                indices = sampler.indices(train_step)
                share = worker_share(indices, self.rank, self.num_workers)
                batch, draws = sampler.batch(share, train_step)
                batch = batch.to(predictor.device)
                uniform = stack_noise(draws).to(predictor.device)
                kept = torch.tensor([[d.kept_fraction] for d in draws], device=predictor.device)
                with torch.no_grad():
                    attended = self.loss.attended(batch)
                answer_nll = module(batch.sequences, (uniform < kept).float(), attended)
                self._update(answer_nll.sum() / len(indices), module, optimizer)
                self._post(train_step + 1, {"adapt_loss": float(answer_nll.detach().mean())})
                if _agreed(departure.is_wanted(), predictor.device):
                    check_finite(predictor, "predictor", "weighting.adapt_learning_rate")
                    progress = {"train_step": train_step + 1}
                    save(predictor, optimizer, Saved(self.job.folder, progress, part=_ADAPTATION))
                    wait_until_saved()
                    return False
            check_finite(predictor, "predictor", "weighting.adapt_learning_rate")
            self._save(predictor, path)
            _barrier(self.num_workers)  # rank 0 has written the file that all ranks read
        fetch_module(predictor, self.store, path)
        return True

    def learn(self, departure: Departure) -> WeightingProgress | None:
        """Train the weighter with the frozen predictor.

        Returns:
            The progress at the end; None if a worker wants to leave, and a checkpoint is saved.
        """
        weighting = self.job.weighting
        self.loss.predictor.requires_grad_(False)
        module = prepare_model(self.loss)
        weighter = self.loss.weighter
        optimizer = torch.optim.AdamW(weighter.parameters(), lr=weighting.learning_rate)
        saved = self._restore(weighter, optimizer, _TRAINING)
        progress = WeightingProgress() if saved is None else WeightingProgress(**saved.progress)
        while not progress.is_over(weighting):
            # Train steps are numbered on from the adaptation, so that their random numbers differ.
            draw_step = weighting.num_adapt_steps + progress.train_step
            indices = self.training.indices(draw_step)
            share = worker_share(indices, self.rank, self.num_workers)
            batch, draws = self.training.batch(share, draw_step)
            device = self.loss.predictor.device
            uniform = stack_noise(draws).to(device)
            temperature = self._temperature(progress)
            total, _, _ = module(batch.to(device), uniform, temperature)
            self._update(total / len(indices), module, optimizer)
            progress.train_step += 1
            mean_loss = float(total.detach()) / len(share)
            self._post(weighting.num_adapt_steps + progress.train_step, {"loss": mean_loss})
            is_to_leave = _agreed(departure.is_wanted(), device)
            is_last = progress.train_step == weighting.num_train_steps
            is_to_validate = is_last or progress.train_step % weighting.validate_every == 0
            if is_to_validate or is_to_leave:
                check_finite(weighter, "weighter", "weighting.learning_rate")
            if is_to_validate:
                self._validate(progress)
            if is_to_validate or is_to_leave:
                position = dataclasses.asdict(progress)
                save(weighter, optimizer, Saved(self.job.folder, position, part=_TRAINING))
            if is_to_leave:
                wait_until_saved()
                return None
        wait_until_saved()
        return progress

    def quality(self) -> dict[str, float | None]:
        """Measure the quality of the saved weighter's token weights on the validation set."""
        fetch_module(self.loss.weighter, self.store, f"{self.job.folder}/weighter.safetensors")
        return self.validation.quality()

    def _temperature(self, progress: WeightingProgress) -> float:
        weighting = self.job.weighting
        return annealed_temperature(
            progress.train_step,
            weighting.num_train_steps,
            weighting.temperature,
            weighting.final_temperature,
        )

    def kept(self) -> str:
        """Return how far the training has come, for a message."""
        weighting = self.job.weighting
        total = weighting.num_adapt_steps + weighting.num_train_steps
        return f"{self.train_step} of {total} train steps"

    def _post(self, train_step: int, metrics: dict[str, float]) -> None:
        """Post the metrics of a train step, those of rank 0's share, on the metrics board.

        ``train_step`` is counted over adaptation and training.
        """
        self.train_step = train_step
        if self.rank == 0:
            total = self.job.weighting.num_adapt_steps + self.job.weighting.num_train_steps
            progress = {"train_step": train_step, "num_train_steps": total}
            self.board.post.remote({**progress, **metrics})

    def _update(self, loss: torch.Tensor, module: Any, optimizer: torch.optim.Optimizer) -> None:
        # DDP averages gradients over the workers; the factor turns the mean into a sum.
        (loss * self.num_workers).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()

    def _validate(self, progress: WeightingProgress) -> None:
        """Measure the validation loss; record and post it; save the weighter if it is the best."""
        weighting = self.job.weighting
        count = len(self.validation.sampler.examples)
        share = worker_share(range(count), self.rank, self.num_workers)
        # The temperature is the same at all validations, so that their losses can be compared.
        temperature = weighting.final_temperature or weighting.temperature
        sums = self.validation.loss_sums(share, temperature)
        if self.num_workers > 1:
            torch.distributed.all_reduce(sums)
        token_weights = np.concatenate(self.validation.token_weights())
        answer_loss, kept = (sums / count).tolist()
        row = {
            "train_step": progress.train_step,
            "validation_loss": answer_loss + weighting.mask_ratio_weight * kept,
            "answer_loss": answer_loss,
            "kept_fraction": kept,
            "weight_spread": float(token_weights.std()),
        }
        self._post(weighting.num_adapt_steps + progress.train_step, row)
        if progress.note(row, collapse_of(token_weights)):
            self._save(self.loss.weighter, f"{self.job.folder}/weighter.safetensors")

    def _restore(
        self, module: torch.nn.Module, optimizer: torch.optim.Optimizer, part: str
    ) -> Saved | None:
        """Load the newest undamaged checkpoint of a part of the training, if any."""
        saved, self.warnings = restore(module, optimizer, self.job.folder, part)
        return saved

    def _save(self, module: torch.nn.Module, path: str) -> None:
        if self.rank == 0:
            upload_module(module, self.store, path)


def _adapting(predictor: AnswerPredictor, weighting: LearnedWeighting) -> list[dict[str, Any]]:
    """Return the parameter groups of the adaptation, each with its learning rate."""
    vector = predictor.reading.mask_vector
    others = [p for p in predictor.parameters() if p.requires_grad and p is not vector]
    return [
        {"params": [vector], "lr": weighting.mask_vector_learning_rate},
        {"params": others, "lr": weighting.adapt_learning_rate},
    ]


def _barrier(num_workers: int) -> None:
    if num_workers > 1:
        torch.distributed.barrier()


def build_parts(
    job: WeightingJob, store: Store
) -> tuple[KeypointLoss, MaskedSampler, MaskedSampler]:
    """Build the models and the data of a training, on the CPU.

    The weighter's initial values come from torch's global generator, so the caller sets torch's seed
    before. A model on the hub is downloaded. The job's table of rationales in the store has at least one
    row, no empty text, and only questions of the table of questions.

    Returns:
        The loss, which holds the untrained weighter and the predictor; the sampler of the training set;
        the sampler of the validation set.

    Raises:
        KpodError, OSError, ValueError: As in `load_student` and `load_tokenizer`, for student and
            predictor; ``num_heads`` doesn't divide the width of the student, or the template is ``chat``
            and the tokenizer has no chat template (KpodError); or a table can't be read (OSError).
    """
    weighting = job.weighting
    dtype = compute_dtype(job.weighting.precision)
    student = load_student(job.model, dtype).language_model
    weighter = build_weighter(student, weighting.num_heads)
    if weighting.predictor is None:
        predictor = student_predictor(student, dtype)
    else:
        predictor = other_predictor(weighting.predictor, student, dtype)
    examples = _examples(job, store, predictor)
    padding = pad_id(load_tokenizer(job.model))
    training, validation = split_examples(examples, weighting, job.seed, padding)
    return KeypointLoss(weighter, predictor, weighting), training, validation


def _examples(job: WeightingJob, store: Store, predictor: AnswerPredictor) -> list[MaskedExample]:
    """Return the tokenised example of each rationale, in the order of the table."""
    tokenizer = load_tokenizer(job.model)
    answer_tokenizer = load_tokenizer(job.weighting.predictor or job.model)
    questions = Question.from_table(store.read_table(job.questions))
    by_id = {question.id: question for question in questions}
    examples = []
    for rationale in Rationale.from_table(store.read_table(job.rationales)):
        question = by_id[rationale.question_id]
        ids = predictor.answer_ids(answer_tokenizer, question.answer)
        examples.append(
            build_masked_example(tokenizer, question, rationale.text, job.template, ids)
        )
    return examples


def _agreed(is_wanted: bool, device: torch.device) -> bool:
    """Return on all workers whether one of them wants to leave; a collective operation."""
    if not torch.distributed.is_initialized():
        return is_wanted
    votes = torch.tensor(float(is_wanted), device=device)
    torch.distributed.all_reduce(votes)
    return bool(votes > 0)
