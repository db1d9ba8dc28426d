"""Options of the whole test suite."""

from __future__ import annotations

import pytest


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
