"""Checkpoints: whole or absent, verified when read, and bound to one configuration.

A checkpoint is a folder ``step-00000100`` with ``state.safetensors`` and ``checkpoint.json``.
It is written beside its final name and renamed when it is on the disk, so a process killed
at any instant leaves the one before it untouched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load, save

from pipeline.errors import CheckpointError, DamagedCheckpointError
from pipeline.files import naming

FORMAT = 1
KEPT = 2


@dataclass(frozen=True)
class Progress:
    """Where a run stands at a checkpoint.

    ``run_hash`` names what it is a checkpoint of: a configuration and the tokens it learns.
    ``threads`` is kept because the order of a sum, and so its last bit, depends on it.
    """

    run_hash: str
    step: int
    train_seconds: float
    threads: int


def write(folder: Path, progress: Progress, state: dict[str, torch.Tensor]) -> Path:
    """Write a checkpoint into ``folder`` and drop all but the last two; return its path."""
    final = folder / f"step-{progress.step:08d}"
    for unfinished in folder.glob("step-*.partial"):
        shutil.rmtree(unfinished)
    partial = folder / f"{final.name}.partial"
    partial.mkdir(parents=True)
    content = save({name: tensor.cpu().contiguous() for name, tensor in state.items()})
    meta = {"format": FORMAT, "sha256": hashlib.sha256(content).hexdigest(), **asdict(progress)}
    try:
        _write_synced(partial / "state.safetensors", content)
        _write_synced(partial / "checkpoint.json", json.dumps(meta, indent=1).encode())
    except OSError:
        # A full disk: what was begun would only take room.
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    _sync(folder)
    for old in steps(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def steps(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".partial")


def read(path: Path, run_hash: str) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Read one checkpoint.

    Raises :class:`DamagedCheckpointError` if its files are not whole and
    :class:`CheckpointError` if it was made with another configuration.
    """
    try:
        meta = json.loads((path / "checkpoint.json").read_text())
        content = (path / "state.safetensors").read_bytes()
        made_as, sha256 = meta.pop("format"), meta.pop("sha256")
        if made_as != FORMAT:
            raise DamagedCheckpointError(f"{path}: not a checkpoint of format {FORMAT}; delete it")
        progress = Progress(**meta)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedCheckpointError(f"{path}: damaged checkpoint ({error}); delete it") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedCheckpointError(
            f"{path}/state.safetensors: damaged, its sha256 is not the one written; delete {path}"
        )
    if progress.run_hash != run_hash:
        raise CheckpointError(
            f"{path}: checkpoint of another configuration or corpus ({progress.run_hash[:12]}, "
            f"this run is {run_hash[:12]}); move it away, or use the configuration it was made with"
        )
    return progress, load(content)


def _write_synced(path: Path, content: bytes) -> None:
    with naming(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
