"""Compare methods: train and evaluate every arm with every seed, and test each arm against a baseline.

``comparison.resample`` says what a seed draws anew. What seeds and arms share is computed once. Each
trial (an arm with a seed) has its own training and evaluation; several trials run at the same time. All
results are ordinary artifacts, so a killed comparison is resumed, and a repeated comparison with further
arms or seeds runs only these. The outcome of each finished trial is also recorded, see `Record`: a
recorded trial needs no artifact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from kpod_ray.cluster.failures import explained
from kpod_ray.comparison.preparing import (
    evaluate_untrained,
    prepare_arms,
    prepare_base,
    trial_artifacts,
)
from kpod_ray.comparison.record import Record
from kpod_ray.comparison.running import run_unfinished
from kpod_ray.comparison.trials import (
    Trial,
    arm_settings,
    budget_of,
    fingerprint,
    longer_budget,
    planned_arms,
    trial_config,
)
from kpod_ray.comparison.tuning import OnTuned, choose_rates, tuning_seeds
from kpod_ray.config import RunConfig
from kpod_ray.config.comparison import LONGER_BASELINE, UNTRAINED
from kpod_ray.pipeline.checks import check_comparison
from kpod_ray.pipeline.naming import Run, name_run, open_run
from kpod_ray.pipeline.run import RunCallbacks
from kpod_ray.report.comparison.assemble import assemble_results
from kpod_ray.report.comparison.collect import collect_questions, collect_trial, collect_untrained
from kpod_ray.report.comparison.data import ComparisonResults
from kpod_ray.report.comparison.outcomes import ChosenRate, TrialOutcome, complete_seeds


@dataclasses.dataclass(frozen=True)
class ComparisonCallbacks:
    """Callbacks for the progress of a comparison."""

    shared: RunCallbacks
    """Called for the phases of the base settings, and, if all seeds share the corpus, for the plan of
    each arm. For token weights and step difficulties of an arm's own, only ``on_start`` and ``on_rows``
    are called; for what seeds draw anew, and for trials, only ``on_wait``."""
    on_trial: Callable[[TrialOutcome, int, int], None]
    """Called once for each trial when it is finished, with its outcome, the number of finished trials,
    and the number of all trials. Trials that were finished before the call of `compare` come first."""
    on_tuned: OnTuned
    on_rate: Callable[[ChosenRate], None]
    """Called once for each arm whose learning rate is chosen."""


@explained()
def compare(
    config: RunConfig, callbacks: ComparisonCallbacks, files: Sequence[str] = ()
) -> ComparisonResults:
    """Train and evaluate every arm with every seed; return the results.

    Finished artifacts are reused, and only artifacts and the first of ``files`` are written. Ray is
    joined or started if an artifact is unfinished, and stays connected. The first trial that fails ends
    the comparison; the trials that still run are killed.

    Args:
        config: base settings, and in ``comparison`` the arms and the seeds.
        callbacks: called as the comparison proceeds.
        files: local files of outcomes, see `Record.open`. Their trials aren't run, also if the storage
            is empty.

    Returns:
        The results of the untouched student as the first arm, and of every arm, with every seed that all
        arms have.

    Raises:
        KpodError: `check_comparison`, `open_run` or `Record.open` refuses the config or a file, there is
            no test question, no cluster answers at the address, the cluster is too small, or a phase or
            a trial fails (see `finish_artifact`).
        OSError: As in `check_comparison`.
        ValueError: As in `check_comparison`.
        Exception: A phase or a trial failed for another reason.
    """
    check_comparison(config)
    base = open_run(config)
    settings = arm_settings(base.config)
    comparison = _Comparison(base, settings, Record.open(files, settings), callbacks)
    comparison.run()
    return assemble_results(base.config, comparison.record.outcomes)


class _Comparison:
    """One call of `compare`."""

    def __init__(
        self,
        base: Run,
        settings: dict[str, str],
        record: Record,
        callbacks: ComparisonCallbacks,
    ) -> None:
        self.base = base
        self.config = base.config
        self.settings = settings
        self.record = record
        self.callbacks = callbacks
        comparison = self.config.comparison
        self.keys = [(arm, seed) for seed in comparison.seeds() for arm in comparison.arms]
        """Arms and seeds of the trials, without the longer baseline. Trials start in this order, so that
        a comparison that is stopped has finished all arms with its first seeds."""
        complete = complete_seeds(record.outcomes, comparison.arms)
        self.longer_seeds = (
            sorted({*comparison.seeds(), *complete}) if comparison.equal_cost else []
        )
        """Seeds of the longer baseline: all seeds that the results will have."""
        self.num_done = 0
        self.is_begun = False

    def run(self) -> None:
        """Record the outcome of every trial, see `compare`."""
        recorded = self.record.outcomes.trials
        missing = [key for key in self.keys if key not in recorded]
        for key in self.keys:
            if key in recorded:
                self._tell(recorded[key])
        if missing or (UNTRAINED, 0) not in recorded:
            self._begin()
        if missing:
            self._prepare(missing)
            self._run(self._trials(missing))
        self._run_longer()

    def _begin(self) -> None:
        """Make what all trials share; record the test questions and the untouched student."""
        if self.is_begun:
            return
        self.is_begun = True
        prepare_base(self.base, self.callbacks.shared)
        self.record.begin(collect_questions(self.config, self.base.artifacts["questions"]))
        if (UNTRAINED, 0) not in self.record.outcomes.trials:
            evaluate_untrained(self.base, self.callbacks.shared)
            settings = self.settings[UNTRAINED]
            self.record.add(collect_untrained(settings, self.base.artifacts, self.record.questions))

    def _prepare(self, missing: Sequence[tuple[str, int]]) -> None:
        """Finish the plans of the missing trials, and choose the missing learning rates."""
        comparison, rates = self.config.comparison, self.record.outcomes.rates
        arms = planned_arms(self.config, missing)
        seeds = sorted({seed for _, seed in missing})
        untuned = [arm for arm in arms if arm not in rates] if comparison.learning_rates else []
        if untuned:
            seeds += tuning_seeds(self.config)
        shared = self.callbacks.shared
        prepare_arms(self.base, arms, seeds, shared)
        if untuned:
            settings = {arm: self.settings[arm] for arm in untuned}
            for rate in choose_rates(self.config, settings, shared, self.callbacks.on_tuned):
                self.record.add(rate)
                self.callbacks.on_rate(rate)

    def _trials(self, keys: Sequence[tuple[str, int]]) -> list[Trial]:
        """Return the trials of arms with seeds; the plans that `planned_arms` names must be finished."""
        budgets = {seed: budget_of(self.config, seed) for seed in {seed for _, seed in keys}}
        trials = []
        for arm, seed in keys:
            overrides = {**budgets[seed], **self._rate(arm)}
            run = name_run(trial_config(self.config, arm, seed, overrides))
            trials.append(Trial(arm, seed, self.settings[arm], run))
        return trials

    def _rate(self, arm: str) -> dict[str, float]:
        """Return the override of the config with the chosen learning rate of an arm, if any."""
        chosen = self.record.outcomes.rates.get(arm)
        return {"student.learning_rate": chosen.learning_rate} if chosen else {}

    def _run(self, trials: Sequence[Trial]) -> None:
        """Run trials and record their outcomes."""
        runs = [trial.run for trial in trials]
        names = trial_artifacts(self.config)
        for index in run_unfinished(runs, names, self.callbacks.shared):
            trial = trials[index]
            key = (trial.arm, trial.seed, trial.settings)
            run = trial.run
            outcome = collect_trial(key, run.config, run.artifacts, self.record.questions)
            self.record.add(outcome)
            self._tell(outcome)

    def _run_longer(self) -> None:
        """Train the longer baseline with each seed, unless a recorded one has the same budget."""
        comparison, outcomes = self.config.comparison, self.record.outcomes
        trials = []
        for seed in self.longer_seeds:
            budget = longer_budget(self.config, outcomes, seed)
            settings = fingerprint([self.settings[comparison.baseline], budget])
            recorded = outcomes.trials.get((LONGER_BASELINE, seed))
            if recorded is not None and recorded.settings == settings:
                self._tell(recorded)
                continue
            rate = self._rate(comparison.baseline)
            overrides = {"student.loss_token_budget": budget, **rate}
            config = trial_config(self.config, LONGER_BASELINE, seed, overrides)
            trials.append(Trial(LONGER_BASELINE, seed, settings, name_run(config)))
        if trials:
            self._begin()
            seeds = [trial.seed for trial in trials]
            prepare_arms(self.base, [comparison.baseline], seeds, self.callbacks.shared)
            self._run(trials)

    def _tell(self, outcome: TrialOutcome) -> None:
        self.num_done += 1
        self.callbacks.on_trial(outcome, self.num_done, len(self.keys) + len(self.longer_seeds))
