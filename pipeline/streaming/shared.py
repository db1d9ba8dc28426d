"""What the threads of a parameter store share: one lock, and what went wrong behind the scenes."""

from __future__ import annotations

import threading


class Shared:
    """The condition that guards all of a store's state; it is notified at every change.

    A failed write stays: what follows it was never committed, so every later call raises it. A
    failed read concerns one plane, and is raised once.
    """

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.closing = False
        self.write_failure: BaseException | None = None
        self.read_failure: BaseException | None = None
        self.told = False

    def check(self) -> None:
        """Raise what failed in the background."""
        if self.write_failure is not None:
            self.told = True
            raise self.write_failure
        if self.read_failure is not None:
            failure, self.read_failure = self.read_failure, None
            raise failure

    def fail_write(self, failure: BaseException) -> None:
        """Note a failed write; the lock is held."""
        self.write_failure = self.write_failure or failure
        self.condition.notify_all()
