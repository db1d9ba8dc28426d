"""The record of a run, one JSON object a line: every step, and every validation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import naming, write_text
from pipeline.reporting.figures import draw_training
from pipeline.reporting.results import History as Curve


class History:
    """A history file that grows with the run and is cut back to a checkpoint on resume."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Open ``path``, keeping the records up to ``last_step``."""
        self.path = path
        self.records = [r for r in _read(path) if r["step"] <= last_step]
        # In one step: a process killed before the next checkpoint must not lose the older records.
        write_text(path, "".join(map(_line, self.records)))
        self._file = path.open("a")

    def add(self, record: dict[str, Any]) -> None:
        """Append one record; it is on the disk after the next :meth:`sync`."""
        self.records.append(record)
        with naming(self.path):
            self._file.write(_line(record))

    def sync(self) -> None:
        """Put all records on the disk."""
        with naming(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write what is left and close the file."""
        with naming(self.path):
            self._file.close()

    def plotted(self) -> bytes:
        """The losses so far as a picture, a PNG."""
        steps = [record for record in self.records if "loss" in record]
        tokens = {record["step"]: record["tokens"] for record in steps}
        validated = [record for record in self.records if "validation_loss" in record]
        return draw_training(
            "training",
            Curve(
                np.array([record["tokens"] for record in steps]),
                np.array([record["loss"] for record in steps]),
                np.array([tokens[record["step"]] for record in validated]),
                np.array([record["validation_loss"] for record in validated]),
            ),
        )

    def column(self, key: str) -> list[Any]:
        """The values of ``key`` in step order, from the records that have it."""
        return [record[key] for record in self.records if key in record]


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _read(path: Path) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                # A killed process leaves at most its last line cut; that step is done again.
                break
    return records
