"""Reads the tokens of a corpus, memory-mapped, after checking them against the manifest."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.corpus.vocabulary import token_dtype
from pipeline.errors import ShardError

FORMAT = 1
"""Version of the manifest and of the files beside it."""

MANIFEST_KEYS = (
    "corpus",
    "dtype",
    "vocabulary",
    "end_of_text",
    "tokenizer_sha256",
    "inputs_sha256",
    "splits",
)

DTYPES: dict[str, np.dtype] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class TokenSplit:
    """The tokens of one split; ``bytes`` of UTF-8 text in ``documents`` gave them.

    ``vocabulary`` counts the ids that can occur, ``end_of_text`` is the one behind each document.
    """

    tokens: int
    bytes: int
    documents: int
    vocabulary: int
    end_of_text: int
    _shards: tuple[np.ndarray, ...]
    _ends: tuple[int, ...]

    @classmethod
    def open(cls, directory: Path, split: str, verify: bool = True) -> TokenSplit:
        """Open ``split`` ("train" or "validation") of the corpus in ``directory``.

        Checks the size of each shard and, with ``verify``, the SHA-256 of each and of the
        tokenizer. Raises :class:`ShardError` for what is missing, truncated or altered.
        """
        manifest = read_manifest(directory)
        try:
            part = manifest["splits"][split]
            dtype = DTYPES[manifest["dtype"]]
            sizes = [shard["tokens"] for shard in part["shards"]]
            counts = (part["tokens"], part["bytes"], part["documents"])
            vocabulary, end_of_text = manifest["vocabulary"], manifest["end_of_text"]
            if sum(sizes) != part["tokens"] or dtype != token_dtype(vocabulary):
                raise _error(directory / "manifest.json", "contradicts itself")
            for shard in part["shards"]:
                _check_size(directory / shard["file"], shard["tokens"] * dtype.itemsize)
            if verify:
                _check_hash(directory / "tokenizer.json", manifest["tokenizer_sha256"])
                for shard in part["shards"]:
                    _check_hash(directory / shard["file"], shard["sha256"])
            paths = [directory / shard["file"] for shard in part["shards"]]
        except (KeyError, TypeError) as error:
            raise _error(directory / "manifest.json", f"lacks {error}") from error
        maps = tuple(np.memmap(path, dtype, "r") for path in paths)
        return cls(*counts, vocabulary, end_of_text, maps, tuple(accumulate(sizes)))

    def read(self, start: int, count: int) -> np.ndarray:
        """Tokens ``start`` to ``start + count``, int64 of shape (count,), across shards."""
        if start < 0 or count < 0 or start + count > self.tokens:
            raise IndexError(f"tokens {start} to {start + count} are not within {self.tokens}")
        pieces, shard = [np.empty(0, np.int64)], bisect_right(self._ends, start)
        while count:
            tokens = self._shards[shard]
            local = start - (self._ends[shard] - len(tokens))
            pieces.append(tokens[local : local + count].astype(np.int64))
            start, count, shard = start + len(pieces[-1]), count - len(pieces[-1]), shard + 1
        return np.concatenate(pieces)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of the corpus in ``directory``; raise :class:`ShardError` if it is unusable."""
    path = directory / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise _error(path, "is missing") from error
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be read, truncated or altered ({error})") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _error(path, f"is not of format {FORMAT}")
    if lacking := [key for key in MANIFEST_KEYS if key not in manifest]:
        raise _error(path, f"lacks {lacking[0]}")
    return manifest


def content_sha256(manifest: dict[str, Any]) -> str:
    """Name the very tokens of a corpus: a hash of the text and of the tokenizer."""
    content = manifest["inputs_sha256"] + manifest["tokenizer_sha256"]
    return hashlib.sha256(content.encode()).hexdigest()


def _check_size(path: Path, expected_bytes: int) -> None:
    if not path.is_file():
        raise _error(path, "is missing")
    size_bytes = path.stat().st_size
    if size_bytes != expected_bytes:
        raise _error(path, f"has {size_bytes} bytes instead of {expected_bytes}")


def _check_hash(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror}") from error
    if found != expected:
        raise _error(path, f"was altered: its SHA-256 is {found[:12]}, not {expected[:12]}")


def _error(path: Path, problem: str) -> ShardError:
    """An error that names the file, what is wrong with it, and the remedy."""
    return ShardError(
        f"{path}: {problem}; delete the folder {path.parent} and tokenize again with "
        "`snakemake` or `python -m pipeline.tokenize`"
    )
