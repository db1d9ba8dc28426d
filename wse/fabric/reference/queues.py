"""Wavelets, and the bounded queues that they wait in.

Nothing enters or leaves a queue while a cycle is being decided: the run carries out all moves at
the cycle's end, so every decision sees the queues as the cycle found them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass
class Wavelet:
    """32 bits of payload and whether they are *control*.

    It may move from cycle ``ready`` on. ``remaining`` is the set of ports that a router has still
    to serve it at, None before its first.
    """

    payload: int
    control: bool
    ready: int
    remaining: int | None = None


class Queue:
    """First in, first out, with a number of places; wavelets on their way hold a place too."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.wavelets: deque[Wavelet] = deque()

    def has_place(self) -> bool:
        """Whether one more wavelet may be sent here."""
        return len(self.wavelets) < self.places

    def head(self, cycle: int) -> Wavelet | None:
        """The first wavelet, if it has arrived by ``cycle``."""
        if self.wavelets and self.wavelets[0].ready <= cycle:
            return self.wavelets[0]
        return None

    def waits_after(self, cycle: int) -> bool:
        """Whether the first wavelet arrives only after ``cycle``."""
        return bool(self.wavelets) and self.wavelets[0].ready > cycle

    def enter(self, wavelet: Wavelet) -> None:
        """Put a wavelet at the end."""
        self.wavelets.append(wavelet)

    def leave(self) -> None:
        """Remove the first wavelet."""
        self.wavelets.popleft()
