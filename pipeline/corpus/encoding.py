"""Encodes documents on all cores while the next ones are read and the last ones written.

The tokenizer's own threads share the documents of the batches at work. No more batches are
held, so memory does not grow with the corpus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding

from pipeline.corpus.split import SPLITS, SplitDocument
from pipeline.corpus.tokenizer import CorpusTokenizer
from pipeline.corpus.vocabulary import token_dtype

BATCH_BYTES = 2**21
"""Text encoded at once, 2 MiB; the library takes about 100 bytes a token until it is done."""

BATCHES_AT_WORK = 2
"""While the ids of one batch are taken over, another keeps the cores busy."""


class Encoded(NamedTuple):
    """Part of a split: token ids, shape (tokens,), with the documents they came from."""

    split: str
    tokens: np.ndarray
    documents: int
    text_bytes: int


def encode(tokenizer: CorpusTokenizer, documents: Iterable[SplitDocument]) -> Iterator[Encoded]:
    """Token ids of ``documents`` in their order within each split, end-of-text behind each."""
    with ThreadPoolExecutor(BATCHES_AT_WORK) as threads:
        pending: deque[Future[list[Encoded]]] = deque()
        for batch in _batches(documents):
            pending.append(threads.submit(_encode_batch, tokenizer, batch))
            if len(pending) > BATCHES_AT_WORK:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _batches(documents: Iterable[SplitDocument]) -> Iterator[list[SplitDocument]]:
    batch: list[SplitDocument] = []
    batch_bytes = 0
    for document in documents:
        batch.append(document)
        batch_bytes += document.text_bytes
        if batch_bytes >= BATCH_BYTES:
            yield batch
            batch, batch_bytes = [], 0
    if batch:
        yield batch


def _encode_batch(tokenizer: CorpusTokenizer, batch: list[SplitDocument]) -> list[Encoded]:
    """Encode ``batch`` on all cores; the splits apart."""
    texts = [document.text for document in batch]
    encodings = tokenizer.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    dtype = token_dtype(tokenizer.vocabulary)
    parts = []
    for split in SPLITS:
        pairs = [pair for pair in zip(batch, encodings, strict=True) if pair[0].split == split]
        if pairs:
            tokens = _joined([encoding for _, encoding in pairs], tokenizer.end_of_text, dtype)
            text_bytes = sum(document.text_bytes for document, _ in pairs)
            parts.append(Encoded(split, tokens, len(pairs), text_bytes))
    return parts


def _joined(encodings: list[Encoding], end_of_text: int, dtype: np.dtype) -> np.ndarray:
    """The ids of ``encodings`` in one array, ``end_of_text`` behind each."""
    tokens = sum(map(len, encodings)) + len(encodings)
    ids = chain.from_iterable(chain(encoding.ids, (end_of_text,)) for encoding in encodings)
    return np.fromiter(ids, dtype, tokens)
