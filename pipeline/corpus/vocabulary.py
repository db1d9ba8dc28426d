"""What follows from the size of a vocabulary; light, so that every stage can ask."""

from __future__ import annotations

import numpy as np

from pipeline.errors import TokenizerError


def check_vocabulary(tokenizer_vocabulary: int, model_vocabulary: int) -> None:
    """Raise :class:`TokenizerError` if there are more tokens than rows in the model's embedding.

    Fewer are fine: published models pad their embedding.
    """
    if tokenizer_vocabulary > model_vocabulary:
        raise TokenizerError(
            f"model.vocabulary: {model_vocabulary} is smaller than the tokenizer's "
            f"{tokenizer_vocabulary} tokens; choose a model with at least that vocabulary, "
            "or a tokenizer with fewer tokens"
        )


def token_dtype(vocabulary: int) -> np.dtype:
    """The narrowest type for token ids: uint16, or uint32 past 65,535 tokens."""
    return np.dtype("<u2" if vocabulary <= 65_535 else "<u4")
