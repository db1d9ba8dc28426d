"""What sets the three decoder families apart, as a table of traits.

One decoder serves all three (:mod:`pipeline.models.decoder`); nothing else in the code asks
which family a model is of, but for the names and files of Hugging Face. No torch here: the
configuration reads shapes without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pipeline.choices import Family


class RotaryPairs(Enum):
    """Which two elements of a head turn together under rotary positions."""

    neighbours = "neighbours"  # elements 2i and 2i + 1
    halves = "halves"  # elements i and i + rotary_dimensions / 2


@dataclass(frozen=True)
class Traits:
    """What a family's layer, embedding and head are made of.

    A parallel layer adds attention and feed-forward of the same input to it, a sequential one
    adds them one after the other. ``layer_norms`` counts those of one layer: with one, attention
    and feed-forward read the same normalised input.
    """

    rotary: RotaryPairs | None  # None: learned positions, added to the embedding
    parallel: bool
    layer_norms: int
    attention_bias: bool
    tied_head: bool  # the head's matrix is the embedding's
    head_bias: bool


TRAITS: dict[Family, Traits] = {
    Family.gpt2: Traits(
        rotary=None,
        parallel=False,
        layer_norms=2,
        attention_bias=True,
        tied_head=True,
        head_bias=False,
    ),
    Family.gptj: Traits(
        rotary=RotaryPairs.neighbours,
        parallel=True,
        layer_norms=1,
        attention_bias=False,
        tied_head=False,
        head_bias=True,
    ),
    Family.gptneox: Traits(
        rotary=RotaryPairs.halves,
        parallel=True,
        layer_norms=2,
        attention_bias=True,
        tied_head=False,
        head_bias=False,
    ),
}
