"""The files of a parameter store: a slot for every plane, and spare ones for new versions.

Planes of equal size share a group of slots with one spare. A new version goes to the spare and
the old version's slot is the next spare. One is enough: commits reach the disk one after the
other, and what a second spare could overlap, the manifest's replacement, is milliseconds against
the tenths of a second that a layer of a large model takes to write. Embedding and head are of
their own sizes and so have their own spares. Gradients are scratch of the step in progress, are
written in place and have none.

All disk is reserved at the start: a full disk shows before work begins.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BudgetError, DamagedStoreError, NoRoomError, StoreError
from pipeline.files import naming
from pipeline.streaming.direct_io import page_multiple, reserve
from pipeline.streaming.layout import EMBEDDING, HEAD, PartLayout, Plane
from pipeline.streaming.manifest import Manifest
from pipeline.streaming.plane_file import FileImage

Key = tuple[str, str]
"""Part and plane."""

SLOT_SUFFIX = ".slot.safetensors"


@dataclass(frozen=True)
class SlotGroup:
    """Planes of one kind and size, and the files that hold them."""

    plane: Plane
    number: int
    parts: tuple[str, ...]
    nbytes: int

    @property
    def files(self) -> list[str]:
        """Names of the slots, the spare included."""
        count = len(self.parts) + (0 if self.plane == "gradient" else 1)
        return [f"{self.plane}-{self.number}-{slot:03d}{SLOT_SUFFIX}" for slot in range(count)]


class Slots:
    """Which slots a store has, by its layouts alone; which are taken, the manifest says."""

    def __init__(self, layouts: Mapping[str, PartLayout]) -> None:
        self.groups: list[SlotGroup] = []
        self.images: dict[Key, FileImage] = {}
        self._group_of: dict[Key, SlotGroup] = {}
        for (plane, _), parts in _by_size(layouts).items():
            self._add_group(plane, [layouts[part] for part in parts])

    @property
    def disk_bytes(self) -> int:
        """What the slots take on the disk."""
        return sum(page_multiple(group.nbytes) * len(group.files) for group in self.groups)

    def spare(self, key: Key, manifest: Manifest) -> str:
        """The file that the next version of a plane goes to."""
        part, plane = key
        group = self._group_of[key]
        if plane == "gradient":
            return group.files[group.parts.index(part)]
        records = [manifest.record(other, plane) for other in group.parts]
        taken = {record.file for record in records if record is not None}
        return next(file for file in group.files if file not in taken)

    def check(self, folder: Path, manifest: Manifest) -> None:
        """Raise :class:`StoreError` unless the manifest's planes are there, as the layouts say.

        Lengths only; the data is verified when it is read.
        """
        for part, planes in manifest.parts.items():
            for plane, record in planes.items():
                if (part, plane) not in self.images or (
                    record.nbytes != self.images[part, plane].nbytes
                ):
                    raise StoreError(
                        f"{folder}: {part} {plane} takes {record.nbytes} bytes, which is not the "
                        "layout of this version of the program; use the version that made the "
                        "store, or delete the folder to start again"
                    )
                if plane == "gradient":  # may be half written, and is then not needed
                    continue
                path = folder / record.file
                length = path.stat().st_size if path.exists() else None
                if length != record.nbytes:
                    found = "is missing" if length is None else f"is {length} bytes long"
                    raise DamagedStoreError(
                        f"{path}: {part} {plane} of step {record.step} {found}, should be "
                        f"{record.nbytes} bytes; restore the file, or delete {folder} to start "
                        "again"
                    )

    def reserve(self, folder: Path, manifest: Manifest) -> None:
        """Give every slot that holds no version its length and all its disk.

        Raises :class:`StoreError` if the disk has too little room.
        """
        holding = {
            record.file
            for planes in manifest.parts.values()
            for plane, record in planes.items()
            if plane != "gradient"
        }
        slots = {file: group.nbytes for group in self.groups for file in group.files}
        require_room(folder, {folder / file: nbytes for file, nbytes in slots.items()})
        for file, nbytes in slots.items():
            if file not in holding:
                reserve(folder / file, nbytes)

    def _add_group(self, plane: Plane, layouts: list[PartLayout]) -> None:
        """One length of header for all, so that any slot of the group holds any of the parts."""
        room = max(
            FileImage.of(layout.name, plane, layout.planes[plane]).header_bytes
            for layout in layouts
        )
        images = {
            (layout.name, str(plane)): FileImage.of(layout.name, plane, layout.planes[plane], room)
            for layout in layouts
        }
        nbytes = next(iter(images.values())).nbytes
        names = tuple(layout.name for layout in layouts)
        group = SlotGroup(plane, len(self.groups), names, nbytes)
        self.groups.append(group)
        self.images |= images
        self._group_of |= dict.fromkeys(images, group)


def store_disk_bytes(layouts: Mapping[str, PartLayout]) -> int:
    """The disk that a store of these parts reserves, without kept and spilled tensors."""
    return Slots(layouts).disk_bytes


def minimum_memory_bytes(layouts: Mapping[str, PartLayout]) -> int:
    """The least memory that a store works with: all planes of any one part at a time.

    A tied head is held together with the embedding's weights. What is spilled, and what is kept
    with a commit, comes on top while it is copied. With this little nothing overlaps.
    """
    images = Slots(layouts).images
    totals: dict[str, int] = defaultdict(int)
    for (part, _), image in images.items():
        totals[part] += image.buffer_bytes
    if _tied(layouts):
        totals[HEAD] += images[EMBEDDING, "weights"].buffer_bytes
    return max(totals.values(), default=0)


def require_memory(layouts: Mapping[str, PartLayout], memory_bytes: int) -> None:
    """Raise :class:`BudgetError` if a store of these parts needs more than ``memory_bytes``."""
    if memory_bytes < (needed := minimum_memory_bytes(layouts)):
        raise BudgetError(
            f"the parameter store is given {memory_bytes / 1e6:,.1f} MB of memory, and its largest "
            f"part alone takes {needed / 1e6:,.1f} MB; raise device.memory"
        )


def require_room(folder: Path, files: Mapping[Path, int]) -> None:
    """Raise :class:`StoreError` unless the disk has room for files of these lengths.

    What they have on the disk already is not asked for again.
    """
    with naming(folder):
        missing = sum(
            max(0, page_multiple(nbytes) - _disk_bytes(path)) for path, nbytes in files.items()
        )
        free = shutil.disk_usage(folder).free
    if missing > free:
        raise NoRoomError(
            f"{folder}: the parameter store needs {missing / 1e9:,.3f} GB more of disk, and "
            f"{free / 1e9:,.3f} GB are free; free some, or choose a folder on a larger disk"
        )


def _disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.exists() else 0


def _by_size(layouts: Mapping[str, PartLayout]) -> dict[tuple[Plane, int], list[str]]:
    groups: dict[tuple[Plane, int], list[str]] = defaultdict(list)
    for part, layout in layouts.items():
        for plane in layout.planes:
            groups[plane, layout.nbytes(plane)].append(part)
    return groups


def _tied(layouts: Mapping[str, PartLayout]) -> bool:
    """Whether the head borrows the embedding's matrix, having none of its own."""
    if HEAD not in layouts or EMBEDDING not in layouts:
        return False
    return all(len(spec.shape) < 2 for spec in layouts[HEAD].planes["weights"])
