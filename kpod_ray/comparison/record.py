"""The record of a comparison: its outcomes so far, in a file that a later comparison goes on from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pyarrow.fs as pafs

from kpod_ray.errors import KpodError
from kpod_ray.pipeline.fingerprints import SCHEMA_VERSION
from kpod_ray.report.comparison.outcomes import (
    ChosenRate,
    Outcomes,
    QuestionSet,
    TrialOutcome,
    outcome_lines,
    read_outcomes,
)
from kpod_ray.storage.atomic_write import AtomicWrite
from kpod_ray.storage.filesystems import local_path


class Record:
    """The outcomes of a comparison; every change is written to the file at once, as an atomic write.

    Args:
        outcomes: outcomes so far.
        path: local file; None keeps the outcomes in memory alone.
    """

    def __init__(self, outcomes: Outcomes, path: str | None) -> None:
        self.outcomes = outcomes
        self.path = path

    @classmethod
    def open(cls, files: Sequence[str], settings: Mapping[str, str]) -> Record:
        """Merge the outcomes of files, write them to the first file, and return their record.

        Args:
            files: local files of outcomes; only the first need not exist. None at all is allowed.
            settings: arm -> fingerprint of its settings in the config, see `arm_settings`. Outcomes of
                other arms are kept, too.

        Raises:
            KpodError: A file can't be read or written or isn't a file of outcomes, outcomes contradict
                each other, or an arm of the config has outcomes of other settings or of another version
                of kpod_ray.
        """
        merged = Outcomes()
        for number, name in enumerate(files):
            outcomes = read_outcomes(_text(name, is_new_allowed=number == 0), name)
            _check_settings(outcomes, settings, name)
            merged = merged.merged(outcomes, name)
        record = cls(merged, files[0] if files else None)
        record._write()
        return record

    @property
    def questions(self) -> QuestionSet:
        """The test questions.

        Raises:
            ValueError: `begin` wasn't called, and no file had test questions.
        """
        if self.outcomes.questions is None:
            raise ValueError("the record of the comparison has no test questions yet")
        return self.outcomes.questions

    def begin(self, questions: QuestionSet) -> None:
        """Record the test questions.

        Raises:
            KpodError: The outcomes in the file are about other test questions.
        """
        self.outcomes = self.outcomes.merged(Outcomes(questions), "of this comparison")

    def add(self, outcome: TrialOutcome | ChosenRate) -> None:
        """Record the outcome of a trial or the learning rate of an arm, in place of an earlier one.

        The recorded outcome has the `SCHEMA_VERSION` of this version of kpod_ray.

        Raises:
            KpodError: The file can't be written.
        """
        recorded = dataclasses.replace(outcome, schema_version=SCHEMA_VERSION)
        if isinstance(recorded, TrialOutcome):
            self.outcomes = self.outcomes.with_trial(recorded)
        else:
            self.outcomes = self.outcomes.with_rate(recorded)
        self._write()

    def _write(self) -> None:
        if self.path is None:
            return
        try:
            with AtomicWrite(
                pafs.LocalFileSystem(), str(local_path(self.path).resolve())
            ) as stream:
                stream.write(outcome_lines(self.outcomes).encode())
        except OSError as error:
            raise KpodError(
                f"outcomes {self.path} can't be written: {error.strerror or error}; give another file"
            ) from error


def _text(name: str, is_new_allowed: bool) -> str:
    """Return the text of a file of outcomes, empty for a new file."""
    file = local_path(name)
    if is_new_allowed and not file.exists():
        return ""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise KpodError(f"outcomes {name} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KpodError(f"outcomes {name}: not UTF-8; restore the file") from error


def _check_settings(outcomes: Outcomes, settings: Mapping[str, str], name: str) -> None:
    """Check that the outcomes of the config's arms have the settings of the config."""
    rows: list[ChosenRate | TrialOutcome] = [*outcomes.rates.values(), *outcomes.trials.values()]
    for row in rows:
        wanted = settings.get(row.arm, row.settings)
        if row.settings != wanted:
            raise KpodError(_refusal(row, wanted, name))


def _refusal(row: ChosenRate | TrialOutcome, wanted: str, name: str) -> str:
    """Return why a row of a file can't be gone on from: its fingerprint isn't the wanted one.

    Fingerprints depend on `SCHEMA_VERSION`, so that those of another version always differ. A row of a
    version that recorded no schema may be of other settings or of another version.
    """
    if row.schema_version == SCHEMA_VERSION:
        return (
            f"outcomes {name}: arm {row.arm} has outcomes of other settings (fingerprint "
            f"{row.settings}, now {wanted}); restore the settings, or give another file"
        )
    if row.schema_version is None:
        return (
            f"outcomes {name}: arm {row.arm} has outcomes of other settings or of an earlier version "
            f"of kpod_ray (fingerprint {row.settings}, now {wanted}); restore the settings or go on "
            "with that version, or give another file"
        )
    return (
        f"outcomes {name}: arm {row.arm} has outcomes of another version of kpod_ray, with which this "
        f"version's can't be compared (schema {row.schema_version}, this version: {SCHEMA_VERSION}); go "
        "on with that version, or give another file"
    )
