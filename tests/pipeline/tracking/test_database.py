"""The database: made once, by whichever process comes first, and by one module."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import tracking
from tests.pipeline.tracking.logged import REPOSITORY, job_of, stored_runs, the_run


def test_importing_does_not_import_mlflow() -> None:
    script = "import sys, pipeline.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0


def test_mlflow_is_imported_in_one_module_only() -> None:
    folders = [REPOSITORY / name for name in ("pipeline", "wse", "benchmarks", "rules")]
    sources = [path for pattern in ("*.py", "*.smk") for f in folders for path in f.rglob(pattern)]
    importing = {
        path.relative_to(REPOSITORY).as_posix()
        for path in [*sources, REPOSITORY / "Snakefile"]
        if imports_mlflow(path.read_text())
    }
    assert importing == {"pipeline/tracking.py"}


def imports_mlflow(source: str) -> bool:
    at_run_time = re.sub(r"^if TYPE_CHECKING:\n(?: .*\n)+", "", source, flags=re.MULTILINE)
    return bool(re.search(r"^ *(import|from) mlflow\b", at_run_time, re.MULTILINE))


def test_prepare_makes_the_database_once(results: Path) -> None:
    before = (results / "mlflow.db").read_bytes()
    script = f"""
import sys, pathlib, pipeline.tracking
pipeline.tracking.prepare(pathlib.Path({str(results)!r}))
sys.exit('mlflow' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY).returncode == 0
    assert (results / "mlflow.db").read_bytes() == before


def test_prepare_makes_good_an_unfinished_database(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half")
    monkeypatch.setattr(sys, "argv", ["pipeline.tracking", "prepare", str(tmp_path)])
    tracking.main()
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.lock"}
    assert capfd.readouterr() == ("", "")
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_two_processes_at_once_make_one_database_and_one_run(tmp_path: Path) -> None:
    frozen = job_of(tmp_path).run_directory / "config" / "train.yaml"
    script = """
import sys, pathlib
from pipeline import tracking
from pipeline.freeze import load
job = load(pathlib.Path(sys.argv[1]), "train", "by_hand")
print(tracking.open_run(job, {"config_hash": job.hash}, {"kind": "train"}).id)
"""
    command = [sys.executable, "-c", script, str(frozen)]
    pair = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) for _ in range(2)]
    first, second = (process.communicate()[0].decode().strip() for process in pair)
    assert first == second == the_run(tmp_path).info.run_id
    assert len(stored_runs(tmp_path, "sweep")) == 1
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
