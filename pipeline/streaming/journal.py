"""Where a streamed run stands, and which run a parameter store belongs to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Journal:
    """Where the run stands; it becomes durable together with the commit that carries it.

    ``step`` is the step in progress, from 1, or the one just done when ``phase`` is over; 0 while
    the store is being filled. ``phase`` is "fill", "backward" or "update". ``reached`` is the last
    part committed in the phase. ``values`` is the engine's own and must be JSON.
    """

    step: int
    phase: str
    reached: str | None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """Which run a store belongs to.

    ``description`` says it for people (model, optimizer, precision, ...) and must be JSON.
    """

    run_hash: str
    description: dict[str, Any]


EMPTY = Journal(step=0, phase="fill", reached=None)
"""The journal of a store that holds nothing yet."""


def require_json(journal: Journal) -> None:
    """Raise :class:`TypeError` or :class:`ValueError` if the journal's values are not JSON."""
    json.dumps(journal.values, allow_nan=True)
