"""Options of the whole test suite, and the order of its files."""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes is no matter of a test: machines are shared.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--kills N``: how often the crash tests kill a training at a random instant."""
    parser.addoption(
        "--kills",
        type=int,
        default=20,
        metavar="N",
        help="kill trainings N times in all at random instants (default 20; the long mode is 100)",
    )
    parser.addoption(
        "--kill-seed", type=int, default=0, metavar="SEED", help="draws the instants of --kills"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: on several cores none is then waited for alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
