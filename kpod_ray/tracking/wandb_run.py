"""One W&B run, written to local files. Nothing in this module waits for the network."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from kpod_ray.config import RunConfig
from kpod_ray.report.plotting import Histogram
from kpod_ray.tracking.summaries import Markup, PhaseSummary
from kpod_ray.tracking.wandb_upload import Upload

INIT_SECONDS = 30.0
"""Time limit for W&B's process on this machine to start a run."""
FLUSH_SECONDS = 5.0
"""Interval at which logged values are written to the run's file; a kill loses at most this much."""
X_AXES = {
    "train/*": "train/train_step",
    "weigh/*": "weigh/train_step",
    "schedule/*": "schedule/stage",
    "token_weight/*": "token_weight/weight",
    "step_difficulty/*": "step_difficulty/nats",
}
"""Pattern of metrics -> the metric that is their x-axis."""


class WandbRun:
    """A W&B run whose files are in ``folder/wandb``; the instance opens the run.

    A second run in the same folder writes a new file and continues the run on W&B. The keys of the
    logged summaries are kept in ``folder/wandb/told.json``, so that a resumed run doesn't log a summary
    again. W&B's process on this machine has `INIT_SECONDS` to open the run.

    Args:
        config: config of the run; its settings become columns of W&B's table of runs.
        folder: local folder of the run, created if missing; its last part is the run's name on W&B.
        is_online: whether a child process (``self.upload``) uploads the files while the run goes on.

    Raises:
        wandb.errors.Error: W&B's library can't open the run.
        OSError: Another process is logging the run in this folder.
        ValueError: ``told.json`` is damaged.
    """

    def __init__(self, config: RunConfig, folder: Path, is_online: bool) -> None:
        import wandb
        from wandb.sdk.data_types._private import MEDIA_TMP

        # W&B makes this folder when it is imported; an earlier command of this process has removed it.
        Path(MEDIA_TMP.name).mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder)
        os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))  # else in the user's home
        self._keys_file = folder / "wandb" / "told.json"
        self.run: Any = wandb.init(
            entity=config.tracking.entity,
            project=config.tracking.project,
            group=config.tracking.group,
            name=folder.name,
            id=run_id(config.storage, folder),
            resume="allow",
            config=config.model_dump(mode="json"),
            mode="offline",  # the child process uploads the files; this process never waits for W&B
            dir=str(folder),
            reinit="create_new",  # other runs may be open in this process
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_SECONDS,
                x_transaction_log_flush_interval=FLUSH_SECONDS,
            ),
        )
        for metrics, axis in X_AXES.items():
            self.run.define_metric(metrics, step_metric=axis)
        self.file = Path(self.run.settings.sync_file)
        self.upload = Upload(self.file) if is_online else None
        self._logged_keys = set(
            json.loads(self._keys_file.read_text()) if self._keys_file.exists() else ()
        )

    def log(self, metrics: Mapping[str, float]) -> None:
        """Log metrics, as one row at W&B's next step.

        Metrics with an x-axis in `X_AXES` need the value of the axis, such as ``train/train_step``, in
        the same call. The row reaches the run's file within `FLUSH_SECONDS`; the network isn't used.
        Call before `finish`.

        Raises:
            wandb.errors.Error: W&B's library refuses the row, or the run is closed.
        """
        self.run.log(dict(metrics))

    def log_summary(self, key: str, collect: Callable[[], PhaseSummary]) -> None:
        """Collect a summary and write it to the run's file, unless its key was logged before.

        Each row of ``curves`` becomes a row of the run; histograms, tables and pages share one further
        row; ``numbers`` and ``outcome`` become the run's summary values; ``artifact`` becomes a W&B
        artifact that holds only the address. Call before `finish`; ``key`` and ``collect`` are those of
        `Tracker.log_summary`.

        Raises:
            Exception: ``collect`` or W&B's library raised it. A later call with the same key writes the
                whole summary again.
        """
        if key in self._logged_keys:
            return
        summary = collect()
        for row in summary.curves:
            self.run.log(dict(row))
        values = {
            **{name: _histogram(value) for name, value in summary.histograms.items()},
            **{name: _table(rows) for name, rows in summary.tables.items()},
            **{name: _html(page) for name, page in summary.pages.items()},
        }
        if values:
            self.run.log(values)
        self.run.summary.update({**summary.numbers, **summary.outcome})
        if summary.artifact:
            self.run.log_artifact(_reference(*summary.artifact))
        self._logged_keys.add(key)
        self._keys_file.write_text(json.dumps(sorted(self._logged_keys)))

    def finish(self, exit_code: int) -> None:
        """Close the run's file; an exit code other than 0 marks the run as failed.

        Call `finish` once, as the last method. The method waits, without a time limit, until W&B's
        process on this machine has written the file. The upload isn't ended: call `Upload.finish` of
        ``self.upload`` afterwards.
        """
        self.run.finish(exit_code)
        self._lock.close()


def _locked(folder: Path) -> IO[str]:
    """Lock the W&B files of a run for this process; the lock ends with the file, or with the process.

    Raises:
        OSError: Another process has the lock.
    """
    file = open(folder / "wandb_lock", "w")  # noqa: SIM115 - stays open as long as the run
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise OSError(f"another process logs the run {folder.name}") from error
    return file


def run_id(storage: str, folder: Path) -> str:
    """Return the W&B id of the run in a folder, 16 hexadecimal digits, the same in each resumed run.

    In an object store (``storage`` has ``://``), the id is a hash of ``storage`` and ``folder``, which
    are unique together. A path on a disk isn't unique, since other machines may have the same path:
    there the id is random, written to ``folder/wandb_id`` by the first call and read by later calls. The
    folder must exist then.
    """
    if "://" in storage:
        return hashlib.sha256(f"{storage}/{folder}".encode()).hexdigest()[:16]
    file = folder / "wandb_id"
    if not file.exists():
        file.write_text(secrets.token_hex(8))
    return file.read_text()


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    columns = list(rows[0]) if rows else []
    data = [[_cell(row[name]) for name in columns] for row in rows]
    return wandb.Table(columns=columns, data=data)


def _cell(value: Any) -> Any:
    return _html(value.html) if isinstance(value, Markup) else value


def _html(html: str) -> Any:
    import wandb

    return wandb.Html(html, inject=False, data_is_not_path=True)


def _histogram(histogram: Histogram) -> Any:
    import wandb

    return wandb.Histogram(np_histogram=(list(histogram.counts), list(histogram.edges)))


def _reference(phase: str, address: str) -> Any:
    """Return a W&B artifact that holds only the address of a phase's artifact.

    The entry equals that of ``add_reference(checksum=False)``, which for ``s3://`` would import boto3.
    """
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    uri = address if "://" in address else Path(address).as_uri()
    artifact = wandb.Artifact(f"{phase}-{uri.rsplit('/', 1)[1]}", type=phase)
    artifact.manifest.add_entry(ArtifactManifestEntry(path=phase, ref=uri, digest=uri))
    return artifact
