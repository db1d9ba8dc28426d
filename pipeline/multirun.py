"""What the runs of a Hydra multirun return, brought together when the last one has ended.

Hydra may run each in a process of its own and keeps what they return to itself, so each leaves it
in a file of a temporary folder.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from pipeline.files import write_json

Together = Callable[[Path, list[Any]], None]


@dataclass(frozen=True)
class Gathering:
    """Keeps what runs return in ``folder``; nothing where there is none."""

    folder: Path | None = None

    def keep(self, results: Path, returned: Any) -> None:
        """Keep what the present run returned, if it is one of several."""
        hydra = HydraConfig.get()
        if self.folder is not None and hydra.mode is RunMode.MULTIRUN:
            content = {"results": str(results), "returned": returned}
            write_json(self.folder / f"{hydra.job.num}.json", content)

    def kept(self) -> list[dict[str, Any]]:
        """What was kept, in the order of the runs."""
        files = list(self.folder.glob("*.json")) if self.folder else []
        files.sort(key=lambda path: int(path.stem))
        return [json.loads(path.read_text()) for path in files]


@contextmanager
def gathering(together: Together | None) -> Iterator[Gathering]:
    """Gather while the context is entered; then hand the results folder and all to ``together``.

    That happens also where some of the runs failed, and not where none or one ended well.
    """
    if together is None:
        yield Gathering()
        return
    with tempfile.TemporaryDirectory(prefix="onewafer-") as folder:
        gathered = Gathering(Path(folder))
        try:
            yield gathered
        finally:
            kept = gathered.kept()
            if len(kept) > 1:
                together(Path(kept[0]["results"]), [one["returned"] for one in kept])
