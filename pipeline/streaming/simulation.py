"""What happens when in a streamed step: the main thread, a reader and a writer, event by event.

The main thread visits parts in order. The reader brings what was asked for one visit ahead, as
soon as there is memory; the writer takes commits one after the other. Each moves a file at a
time, at a rate that does not depend on the moment: with both at work in the passes that write.
So a faster disk, processor or optimizer makes nothing later, but for what memory then holds when:
as with any cache, that may cost a few hundredths of a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.machine_speed.speed import DiskSpeed
from pipeline.streaming.visits import SPILLED, Key, Visit

ONCE_A_STEP = ("state", "gradient")


@dataclass
class _Entry:
    """A plane in memory; ``ready`` when it is read, ``written`` when its commit is on the disk."""

    nbytes: int
    held: bool = False
    wanted: bool = False
    ready: float = 0.0
    written: float = 0.0


@dataclass(frozen=True)
class Moved:
    """Bytes read for a visit (those asked for one visit ahead included), and written after it."""

    read: int
    written: int


@dataclass
class Simulation:
    """The clock, the memory and the two transfer threads; seconds, bytes.

    ``read_seconds`` and ``write_seconds`` are how long either thread works, ``moved`` the bytes
    of each visit.
    """

    sizes: dict[Key, int]
    memory_bytes: int
    disk: DiskSpeed
    now: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    moved: list[Moved] = field(default_factory=list)
    _reader_free: float = 0.0
    _writer_free: float = 0.0
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _copies: list[tuple[float, int]] = field(default_factory=list)
    _visit_bytes: int = 0
    _asked_bytes: int = 0

    def run(self, visits: Iterable[Visit]) -> float:
        """Make the visits; return the seconds until the main thread is done with the last."""
        began = self.now
        for visit in visits:
            self._make(visit)
        return self.now - began

    def begin_step(self) -> None:
        """Count bytes and the two threads' times from here."""
        self.bytes_read = self.bytes_written = 0
        self.read_seconds = self.write_seconds = 0.0
        self.moved = []

    def situation(self) -> tuple[object, ...]:
        """All that the next visits depend on: equal after two steps, every later one is alike."""
        lags = [self._reader_free, self._writer_free, *(end for end, _ in self._copies)]
        planes = [
            (key, entry.wanted, self._left(entry.ready), self._left(entry.written))
            for key, entry in self._entries.items()
        ]
        return (*planes, *map(self._left, lags))

    def _left(self, time: float) -> float:
        return round(max(time - self.now, 0.0), 6)

    def settle(self) -> None:
        """Wait until all commits are on the disk."""
        self.now = max(self.now, self._writer_free)

    def _make(self, visit: Visit) -> None:
        self._visit_bytes = 0
        for key in visit.fetched:
            self._fetch(key, visit.writing_pass)
        fetched = self._visit_bytes
        read = self._asked_bytes + fetched
        for key in visit.asked:
            self._ask(key, visit.writing_pass)
        self._asked_bytes = self._visit_bytes - fetched
        for key in visit.spilled:
            self._make_room(key)
            self._write(key, self.sizes[key])
        compute = visit.compute_seconds + visit.update_seconds
        for key in visit.made:
            self._make_room(key)
        written = sum(self.sizes[key] for key in visit.committed) + visit.copied_bytes
        moved = self._visit_bytes + written
        self.now += compute + moved * self.disk.compute_seconds_per_byte
        spilled = sum(self.sizes[key] for key in visit.spilled)
        self.moved.append(Moved(read, written + spilled))
        self._commit(visit)
        for key in visit.released:
            if key[1] == SPILLED:
                self._entries.pop(key, None)
            elif key in self._entries:
                self._entries[key].held = False

    def _fetch(self, key: Key, writing_pass: bool) -> None:
        entry = self._entries.get(key)
        if entry is None:
            self._room(self.sizes[key], self.now, waiting=True)
            entry = self._read(key, self.now, writing_pass)
        entry.held, entry.wanted = True, False
        self._entries[key] = self._entries.pop(key)  # now the most recently used
        self.now = max(self.now, entry.ready)

    def _ask(self, key: Key, writing_pass: bool) -> None:
        if key in self._entries:
            self._entries[key].wanted = True
            return
        start = self._room(self.sizes[key], max(self.now, self._reader_free), waiting=False)
        if start is not None:
            self._read(key, start, writing_pass).wanted = True

    def _read(self, key: Key, start: float, writing_pass: bool) -> _Entry:
        rate = self.disk.read_beside_write if writing_pass else self.disk.read
        start = max(start, self._reader_free)
        seconds = self.sizes[key] / rate
        self._reader_free = start + seconds
        self.read_seconds += seconds
        self.bytes_read += self.sizes[key]
        self._visit_bytes += self.sizes[key]
        entry = self._entries[key] = _Entry(self.sizes[key], ready=self._reader_free)
        return entry

    def _make_room(self, key: Key) -> None:
        self._entries.pop(key, None)
        self._room(self.sizes[key], self.now, waiting=True)
        self._entries[key] = _Entry(self.sizes[key], held=True)

    def _commit(self, visit: Visit) -> None:
        if visit.copied_bytes:
            self._room(visit.copied_bytes, self.now, waiting=True)
            self._copies.append((self._write(None, visit.copied_bytes), visit.copied_bytes))
        for key in visit.committed:
            self._write(key, self.sizes[key])
        if visit.committed:
            files = len(visit.committed) + visit.copied_files
            seconds = files * self.disk.sync_seconds + self.disk.manifest_seconds
            self._writer_free += seconds
            self.write_seconds += seconds

    def _write(self, key: Key | None, nbytes: int) -> float:
        seconds = nbytes / self.disk.write_beside_read
        self._writer_free = max(self.now, self._writer_free) + seconds
        self.write_seconds += seconds
        self.bytes_written += nbytes
        if key is not None:
            entry = self._entries[key]
            entry.held, entry.written = False, self._writer_free
        return self._writer_free

    def _room(self, nbytes: int, start: float, waiting: bool) -> float | None:
        """When there is memory for ``nbytes``, from ``start`` on; it is taken from idle planes.

        ``waiting``: the main thread waits for it, and the clock goes on. Otherwise None if what
        the main thread holds leaves no room.
        """
        time = start
        while self._taken(time) + nbytes > self.memory_bytes:
            if (key := self._next_to_go(time, even_wanted=waiting)) is not None:
                del self._entries[key]
                continue
            ends = [e.written for e in self._entries.values() if e.written > time]
            ends += [end for end, _ in self._copies if end > time]
            if not ends:
                if waiting:
                    break  # the plan gave the store less than it needs at the least
                return None
            time = min(ends)
        if waiting:
            self.now = max(self.now, time)
        return time

    def _taken(self, time: float) -> int:
        self._copies = [copy for copy in self._copies if copy[0] > self.now]
        copied = sum(nbytes for end, nbytes in self._copies if end > time)
        return copied + sum(entry.nbytes for entry in self._entries.values())

    def _next_to_go(self, time: float, even_wanted: bool) -> Key | None:
        """The same choice as :class:`~pipeline.streaming.cache.PlaneCache` makes."""
        idle = [
            key
            for key, entry in self._entries.items()
            if not entry.held and entry.written <= time and entry.ready <= time
        ]
        unwanted = [key for key in idle if not self._entries[key].wanted]
        candidates = unwanted or (idle if even_wanted else [])
        once_a_step = [key for key in candidates if key[1] in ONCE_A_STEP]
        if once_a_step:
            return once_a_step[-1]
        return candidates[0] if candidates else None
