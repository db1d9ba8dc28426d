"""Where MLflow's database lies, how it is made, and how a run is found in it.

Nothing here imports MLflow: :mod:`pipeline.tracking`, which does, passes its client.

Several processes may ask for the same run, or for a database that is not there, at once; each
does so under the lock of :func:`locked`, because SQLite databases with several first writers are
corrupted and MLflow would happily make a run twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pipeline.errors import TrackingError
from pipeline.job import Job
from wse.errors import OnewaferError

if TYPE_CHECKING:
    from pipeline.tracking import MlflowClient, MlflowRun

LOCK_SECONDS = 120.0  # to wait for other processes that make the database or open a run


def uri(results: Path) -> str:
    """The URI of the database, the same from every working directory."""
    return f"sqlite:///{results.absolute() / 'mlflow.db'}"


def artifact_uri(results: Path) -> str:
    """The URI of the folder in which every run has its artifacts."""
    return (results.absolute() / "mlflow-artifacts").as_uri()


@contextmanager
def explained(results: Path) -> Iterator[None]:
    """Raise what MLflow, SQLite and the file system raise as :class:`TrackingError`."""
    try:
        yield
    except OnewaferError:
        raise
    except Exception as error:
        raise TrackingError(
            f"{results / 'mlflow.db'}: cannot log to MLflow ({reason(error)}); mend or move "
            "it, or set tracking.enabled=false"
        ) from error


def reason(error: BaseException) -> str:
    """What went wrong in the first place, in one line, without the layers that passed it on."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def locked(results: Path) -> Iterator[None]:
    """Hold the lock on which all processes that share ``results`` agree."""
    results.mkdir(parents=True, exist_ok=True)
    with FileLock(results / "mlflow.lock", timeout=LOCK_SECONDS):
        yield


def ensure(results: Path, make: Callable[[str], None]) -> None:
    """Have ``make`` fill a new database, given its URI, unless there is one; hold the lock.

    It is made under another name and then moved, so that it is whole or not there.
    """
    database, unfinished = results / "mlflow.db", results / "mlflow.db.unfinished"
    if database.exists():
        # MLflow would try for a minute to open a file that is not a database.
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA schema_version")
        return
    unfinished.unlink(missing_ok=True)
    make(f"sqlite:///{unfinished.absolute()}")
    unfinished.rename(database)


def ensure_run(client: MlflowClient, job: Job[Any], identity: Mapping[str, str]) -> str:
    """The id of the run whose tags hold ``identity``, made if there is none; hold the lock.

    A new run belongs to the sweep of ``job``; one that is found stays where it was made.
    """
    experiment = _ensure_experiment(client, job)
    wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in identity.items())
    found = client.search_runs([experiment], wanted, max_results=1)
    if found:
        return found[0].info.run_id
    tags = {
        **identity,
        "sweep": job.tracking.sweep,
        "mlflow.parentRunId": ensure_sweep(client, job, job.tracking.sweep),
    }
    return client.create_run(experiment, run_name=job.run, tags=tags).info.run_id


def _ensure_experiment(client: MlflowClient, job: Job[Any]) -> str:
    """The id of the job's experiment, made at its first use."""
    name = job.tracking.experiment
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=artifact_uri(job.results))
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"tracking.experiment: {name} was deleted from {job.results / 'mlflow.db'}; restore "
            f"it (mlflow experiments restore -x {found.experiment_id}) or give another name"
        )
    return found.experiment_id


def ensure_sweep(client: MlflowClient, job: Job[Any], sweep: str) -> str:
    """The id of the run that holds a sweep's runs, made if there is none; hold the lock.

    It does nothing itself, so it is finished.
    """
    experiment = _ensure_experiment(client, job)
    for run in client.search_runs([experiment], "tags.kind = 'sweep'"):
        if run.data.tags["sweep"] == sweep:
            return run.info.run_id
    tags = {"kind": "sweep", "sweep": sweep}
    run_id = client.create_run(experiment, run_name=sweep, tags=tags).info.run_id
    client.set_terminated(run_id)
    return run_id


def last_steps(run: MlflowRun, prefix: str) -> dict[str, int]:
    """The last step that is stored of each metric whose name starts with ``prefix``.

    A run holds the latest point of each metric; asking for histories would read all of them.
    """
    points = run.data.to_proto().metrics
    return {point.key: point.step for point in points if point.key.startswith(prefix)}


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The scalars of nested mappings, by dotted names; lists are left out."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple):
            yield prefix + name, value
