"""Record cards as the report holds them: runs that showed what a machine can train.

Fields are named as in the files, units included.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """Seconds that a step cannot go below on its machine, from rates measured there.

    ``compute`` is the arithmetic at the machine's speed, ``transfer`` the bytes at the disk's.
    ``update``, the optimizer's share, takes the same processor; the floor leaves it out.
    """

    compute: float
    transfer: float
    update: float = 0.0

    @property
    def seconds(self) -> float:
        """The larger of computing and transfer, which go on at once."""
        return max(self.compute, self.transfer)

    @property
    def bound(self) -> str:
        """What binds."""
        return "compute" if self.compute >= self.transfer else "transfer"


@dataclass(frozen=True)
class RecordMachine:
    """The machine of a record card."""

    cpu: str
    cores: int
    memory_bytes: int
    disk: str


@dataclass(frozen=True)
class RecordCard:
    """``records/NAME.json``: a record run that was trained, on this machine or another."""

    name: str
    model: str
    parameters: int
    steps: int
    losses: list[float]
    tokens_per_step: int
    tokens_per_second: float
    step_seconds_median: float
    peak_rss_bytes: int
    store_bytes: int
    bytes_read: int
    bytes_written: int
    resumed_after_kill: list[int]
    machine: RecordMachine
    command: str
    date: str
    commit: str | None
    memory_budget_bytes: int | None
    seconds_to_first_step: float | None
    floor_seconds: Floor | None
    simulated: dict[str, float | None]

    @property
    def times_floor(self) -> float | None:
        """A step's time over its floor."""
        return self.step_seconds_median / self.floor_seconds.seconds if self.floor_seconds else None
