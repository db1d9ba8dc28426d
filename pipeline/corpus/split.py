"""Divides documents into train and validation, and samples them, by a hash of their content.

A document's side depends on nothing but its own text: whatever else is added to a corpus, it
stays where it is, and identical documents lie on one side.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pipeline.corpus.sources import Document
from pipeline.errors import CorpusError

SPLITS = ("train", "validation")


class SplitDocument(NamedTuple):
    """A document with its size in UTF-8, the SHA-256 of its text, and its split."""

    text: str
    text_bytes: int
    digest: bytes
    split: str


def divide(documents: Iterable[Document], validation_fraction: float) -> Iterator[SplitDocument]:
    """Give each document its side; about ``validation_fraction`` of them validate."""
    for document in documents:
        content = document.text.encode()
        digest = hashlib.sha256(content).digest()
        decisive = digest
        if document.follows is not None:
            decisive = hashlib.sha256(document.follows.encode()).digest()
        split = "validation" if _uniform(decisive) < validation_fraction else "train"
        yield SplitDocument(document.text, len(content), digest, split)


def _uniform(digest: bytes) -> float:
    """A hash as a number in [0, 1], evenly spread."""
    return int.from_bytes(digest[:8], "big") / 2**64


def sample(documents: Iterable[SplitDocument], limit_bytes: int) -> list[SplitDocument]:
    """The training documents with the smallest hash, about ``limit_bytes`` of them.

    The hash spreads them evenly over the corpus, in whose order they come, in one pass and with
    little more than ``limit_bytes`` in memory.
    """
    kept: list[tuple[float, int, SplitDocument]] = []
    kept_bytes = 0
    for number, document in enumerate(documents):
        if document.split != "train":
            continue
        heapq.heappush(kept, (-_uniform(document.digest), number, document))
        kept_bytes += document.text_bytes
        while kept_bytes > limit_bytes and len(kept) > 1:
            kept_bytes -= heapq.heappop(kept)[2].text_bytes
    return [document for _, _, document in sorted(kept, key=lambda entry: entry[1])]


def require_both_splits(counts: dict[str, int]) -> None:
    """Raise :class:`CorpusError` unless both splits have documents."""
    if not any(counts.values()):
        raise CorpusError("data: the corpus is empty; give files that hold text")
    for split in SPLITS:
        if not counts.get(split):
            change = "raise" if split == "validation" else "lower"
            raise CorpusError(
                f"data.validation_fraction: all documents ({sum(counts.values())}) fell on the "
                f"other side and {split} is empty; {change} it, or add text"
            )
