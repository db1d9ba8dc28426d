"""The manifest of a parameter store: which file holds what, replaced in one step at each commit.

It is the single truth about a store. A plane's new version lies whole and synced in a spare file
before the manifest points at it, so whatever instant a process dies at, the manifest on the disk
names one consistent set of versions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import xxhash

from pipeline.errors import DamagedStoreError
from pipeline.files import naming
from pipeline.streaming.journal import EMPTY, Identity, Journal

FORMAT = 1
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True)
class FileRecord:
    """A file's name in the store's folder, its exact length, its checksum, the step of its data.

    The checksum is that of :mod:`pipeline.streaming.direct_io`, over the whole file.
    """

    file: str
    nbytes: int
    checksum: str
    step: int


@dataclass(frozen=True)
class Manifest:
    """Part -> plane -> file, the kept sets of tensors, and the journal; never changed in place."""

    identity: Identity
    journal: Journal = EMPTY
    parts: Mapping[str, Mapping[str, FileRecord]] = field(default_factory=dict)
    kept: Mapping[str, FileRecord] = field(default_factory=dict)

    def record(self, part: str, plane: str) -> FileRecord | None:
        """The file of a plane; None if it was never committed."""
        return self.parts.get(part, {}).get(plane)

    def committed(
        self,
        part: str,
        planes: Mapping[str, FileRecord],
        kept: Mapping[str, FileRecord | None],
        journal: Journal,
    ) -> Manifest:
        """The manifest after a commit; a kept set of None is dropped."""
        parts = {**self.parts, part: {**self.parts.get(part, {}), **planes}}
        merged = {**self.kept, **kept}
        remaining = {name: record for name, record in merged.items() if record is not None}
        return replace(self, journal=journal, parts=parts, kept=remaining)

    def save(self, folder: Path) -> None:
        """Replace the folder's manifest; it is on the disk when this returns."""
        path, partial = folder / MANIFEST_FILE, folder / f"{MANIFEST_FILE}.partial"
        body = _body(self)
        with naming(path):
            with partial.open("w") as file:
                file.write(json.dumps({"checksum": _checksum(body), **body}, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            sync_folder(folder)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read a folder's manifest; raise :class:`DamagedStoreError` if it is not whole."""
        path = folder / MANIFEST_FILE
        try:
            body = json.loads(path.read_text())
            checksum = body.pop("checksum")
            if checksum != _checksum(body):
                raise ValueError("its checksum is not the one written")
            if body["format"] != FORMAT:
                raise ValueError(f"format {body['format']}, this version reads format {FORMAT}")
            return _from_body(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedStoreError(
                f"{path}: damaged, {error}; without it nobody knows which file holds which layer: "
                f"restore it from a copy, or delete {folder} to start again"
            ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _body(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "run_hash": manifest.identity.run_hash,
        "description": manifest.identity.description,
        "journal": asdict(manifest.journal),
        "kept": {name: asdict(record) for name, record in manifest.kept.items()},
        "parts": {
            part: {plane: asdict(record) for plane, record in planes.items()}
            for part, planes in manifest.parts.items()
        },
    }


def _from_body(body: dict[str, Any]) -> Manifest:
    return Manifest(
        identity=Identity(body["run_hash"], body["description"]),
        journal=Journal(**body["journal"]),
        parts={
            part: {plane: FileRecord(**record) for plane, record in planes.items()}
            for part, planes in body["parts"].items()
        },
        kept={name: FileRecord(**record) for name, record in body["kept"].items()},
    )


def _checksum(body: dict[str, Any]) -> str:
    # Through JSON first: numbers as keys become words, which are sorted in another order.
    plain = json.loads(json.dumps(body))
    return xxhash.xxh3_64_hexdigest(json.dumps(plain, sort_keys=True).encode())
