"""The folder of a parameter store: made whole or not at all, opened by one process, checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from pipeline.errors import DamagedStoreError, StoreError
from pipeline.streaming.direct_io import PAGE_BYTES, page_multiple, reserve
from pipeline.streaming.journal import Identity
from pipeline.streaming.lock import LOCK_FILE, FolderLock
from pipeline.streaming.manifest import MANIFEST_FILE, Manifest, sync_folder
from pipeline.streaming.slots import SLOT_SUFFIX, Slots, require_room
from pipeline.streaming.writing import SPILL_PREFIX, kept_files, spill_file


def open_folder(folder: Path, slots: Slots, identity: Identity) -> tuple[FolderLock, Manifest]:
    """Lock a store's folder, check or make it, and reserve its disk.

    Raises :class:`StoreInUseError`, :class:`DamagedStoreError`, or :class:`StoreError` for a store
    of another run or too full a disk; a store that could not be made leaves nothing behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        if (folder / MANIFEST_FILE).exists():
            return lock, _open(folder, slots, identity)
        return lock, _create(folder, slots, identity)
    except BaseException:
        lock.release()
        raise


def reserve_beside(
    folder: Path, kept: Mapping[str, int], spilled: Mapping[str, int], in_use: Collection[str]
) -> None:
    """Reserve the disk of kept sets, two files each, and of spilled tensors; name -> bytes.

    Files in ``in_use`` have theirs.
    """
    sizes = {file: nbytes for name, nbytes in kept.items() for file in kept_files(name)}
    sizes |= {spill_file(key): nbytes for key, nbytes in spilled.items()}
    files = {
        folder / file: PAGE_BYTES + page_multiple(nbytes)
        for file, nbytes in sizes.items()
        if file not in in_use
    }
    require_room(folder, files)
    for path, nbytes in files.items():
        reserve(path, nbytes)
    sync_folder(folder)


def _open(folder: Path, slots: Slots, identity: Identity) -> Manifest:
    manifest = Manifest.load(folder)
    _require_same_run(folder, manifest.identity, identity)
    slots.check(folder, manifest)
    for left_over in folder.glob(f"{SPILL_PREFIX}*"):
        left_over.unlink()
    slots.reserve(folder, manifest)
    sync_folder(folder)
    return manifest


def _create(folder: Path, slots: Slots, identity: Identity) -> Manifest:
    """The manifest comes first: slots without one are a store that lost it."""
    if found := sorted(path.name for path in folder.glob(f"*{SLOT_SUFFIX}")):
        raise DamagedStoreError(
            f"{folder / MANIFEST_FILE}: missing, although {len(found)} files of a parameter store "
            f"are there ({found[0]}, ...); without it nobody knows which file holds which layer: "
            f"restore it from a copy, or delete {folder} to start again"
        )
    manifest = Manifest(identity)
    try:
        manifest.save(folder)
        slots.reserve(folder, manifest)
        sync_folder(folder)
    except BaseException:
        # The slots before the manifest: see above.
        for path in [*folder.glob(f"*{SLOT_SUFFIX}"), folder / MANIFEST_FILE]:
            path.unlink(missing_ok=True)
        (folder / LOCK_FILE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    return manifest


def _require_same_run(folder: Path, stored: Identity, wanted: Identity) -> None:
    if stored.run_hash == wanted.run_hash:
        return
    keys = [*stored.description, *(k for k in wanted.description if k not in stored.description)]
    different = [
        f"{key} {stored.description.get(key)}, this run has {wanted.description.get(key)}"
        for key in keys
        if stored.description.get(key) != wanted.description.get(key)
    ]
    what = ", ".join(f"{key} {value}" for key, value in stored.description.items())
    difference = "; ".join(different) or "the other settings or the tokens are not the same"
    raise StoreError(
        f"{folder}: parameter store of another run ({what}): {difference}; use the configuration "
        "that it was made with, or delete the folder to start again"
    )
