"""Which tokens a step learns: a function of the seed and the step alone, so any step can resume.

Legend: b sequences of a batch, s one more than the tokens of a sequence (inputs and targets).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from pipeline.corpus.shards import TokenSplit
from pipeline.errors import CorpusError


class Batches:
    """The batches of a token split in a seeded order that visits all sequences once an epoch.

    A sequence is ``sequence_length + 1`` tokens: the inputs and, one further, the targets.
    Raises :class:`CorpusError` if the split is shorter than one sequence.
    """

    def __init__(self, split: TokenSplit, sequence_length: int, batch: int, seed: int) -> None:
        self.split, self.batch, self.seed = split, batch, seed
        self.sequence_length = sequence_length
        self.sequences = count_sequences(split, sequence_length)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def step(self, step: int) -> torch.Tensor:
        """Tokens of ``step`` (from 1), int64 of shape (batch, sequence_length + 1)."""
        first = (step - 1) * self.batch
        indices = [self._sequence(first + i) for i in range(self.batch)]
        return read_sequences(self.split, indices, self.sequence_length)

    def _sequence(self, position: int) -> int:
        epoch, within = divmod(position, self.sequences)
        if self._order[0] != epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._order = (epoch, generator.permutation(self.sequences))
        return int(self._order[1][within])


def count_sequences(split: TokenSplit, sequence_length: int) -> int:
    """How many sequences a split holds; raise :class:`CorpusError` if there is none."""
    sequences = (split.tokens - 1) // sequence_length
    if sequences < 1:
        raise CorpusError(
            f"train.sequence_length: a sequence takes {sequence_length + 1} tokens, and a split of "
            f"the corpus has {split.tokens}; add text, lower it, or change data.validation_fraction"
        )
    return sequences


def read_sequences(split: TokenSplit, indices: list[int], sequence_length: int) -> torch.Tensor:
    """The sequences of these indices, int64 of shape (len(indices), sequence_length + 1)."""
    rows = [split.read(i * sequence_length, sequence_length + 1) for i in indices]
    return torch.from_numpy(np.stack(rows))


def in_order(
    split: TokenSplit, sequence_length: int, batch: int, limit: int
) -> Iterator[torch.Tensor]:
    """At most ``limit`` sequences, spread evenly over the split, in batches of ``batch``."""
    sequences = count_sequences(split, sequence_length)
    count = min(limit, sequences)
    indices = [number * sequences // count for number in range(count)]
    for first in range(0, count, batch):
        yield read_sequences(split, indices[first : first + batch], sequence_length)
