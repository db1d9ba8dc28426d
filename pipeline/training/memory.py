"""How much memory a run may take: what its configuration says, or what is free, less a margin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipeline.errors import ConfigError
from pipeline.schema import DeviceConfig

UNITS = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)},
}

# Left to everything else, as other programs grow while a run goes on, and files are cached in
# what is free: a tenth, but no more than 2 GiB, which is what a desktop or a second shell takes.
MARGIN_SHARE = 0.1
MOST_MARGIN_BYTES = 2 * 1024**3

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def parse_memory(text: str) -> int:
    """Bytes of an amount of memory such as ``8GiB``, ``1.5 GB`` or ``900MiB``.

    Raises :class:`ConfigError` for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", str(text))
    sizes = {unit.lower(): size for unit, size in UNITS.items()}
    if match is None or match[2].lower() not in sizes or float(match[1]) == 0:
        raise ConfigError(
            f"device.memory: {text} is no amount of memory; write a number above 0 and a unit, "
            f"one of {', '.join(UNITS)}, as in device.memory=8GiB"
        )
    return int(float(match[1]) * sizes[match[2].lower()])


def memory_budget_bytes(device: DeviceConfig) -> int:
    """The most resident memory that this process may come to have.

    Without ``device.memory``: what it has, and what is free, less a margin. Raises
    :class:`ConfigError` if ``device.memory`` is malformed or more than there is.
    """
    if device.memory is None:
        free = available_bytes()
        margin = min(MARGIN_SHARE * free, MOST_MARGIN_BYTES)
        return int(psutil.Process().memory_info().rss + free - margin)
    budget = parse_memory(device.memory)
    if budget > (total := total_bytes()):
        raise ConfigError(
            f"device.memory: {device.memory} is more than the {total / 1024**3:.1f} GiB of memory "
            "that this process can have; give less, or leave it out for what is free"
        )
    return budget


def available_bytes() -> int:
    """Memory that a new process can take without swapping, within its control group, in bytes."""
    free = [limit - used for limit, used in _control_groups()]
    return max(0, min([psutil.virtual_memory().available, *free]))


def total_bytes() -> int:
    """The machine's memory, or the limit of the control group if that is lower, in bytes."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _control_groups())])


def _control_groups() -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of this process's groups and those around them, that have a limit.

    The kernel documents both versions: cgroup-v2.rst, and cgroup-v1/memory.rst. Cached files
    are no use that counts, as the kernel drops them first.
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:
        return  # not Linux
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _limits(CGROUPS, path, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            yield from _limits(CGROUPS / "memory", path, *names)


def _limits(root: Path, path: str, limit: str, use: str, prefix: str) -> Iterator[tuple[int, int]]:
    group = root / path.strip("/")
    for folder in (group, *group.parents):
        try:
            values = (folder / limit).read_text(), (folder / use).read_text()
            if values[0].strip() != "max":
                yield int(values[0]), int(values[1]) - _cached_bytes(folder, prefix)
        except (OSError, ValueError):
            pass  # the root has no limit, and a container sees its own group as the root
        if folder == root:
            return


def _cached_bytes(folder: Path, prefix: str) -> int:
    lines = (folder / "memory.stat").read_text().splitlines()
    stat = dict(line.split() for line in lines)
    return sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
