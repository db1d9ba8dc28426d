"""Where text comes from: every kind of source as one lazy stream of documents.

``READERS`` maps ``data.kind`` to its reader. A reader yields a :class:`Document` at a time, in
an order that depends on nothing but the configuration and the text.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from pipeline.corpus import files
from pipeline.errors import CorpusError
from pipeline.schema import DataConfig, HfData, JsonlData, ParquetData, TextData

JSONL_ENDINGS = tuple(
    name + packed for name in (".jsonl", ".ndjson", ".json") for packed in ("", ".gz", ".zst")
)
ENDINGS = {"text": ("",), "jsonl": JSONL_ENDINGS, "parquet": (".parquet",)}
"""The files that a directory is walked for, by kind of source."""
LINE_LIMIT_BYTES = 2**26
"""Longest line of a JSON lines file, 64 MiB: one endless line must not fill the memory."""


class Document(NamedTuple):
    """A piece of text that belongs together; an end-of-text token follows it.

    ``where`` names the file and line or row for error messages. A document that repeats what
    another one says ``follows`` that one's text to train or validation.
    """

    text: str
    where: str
    follows: str | None = None


def documents(data: DataConfig) -> Iterator[Document]:
    """The documents of ``data``, none empty, none longer than ``files.BLOCK_BYTES``.

    Stops after ``data.max_bytes`` bytes of UTF-8 text. Raises :class:`CorpusError`, while it
    reads, for anything that is missing, unreadable or not text.
    """
    left = float("inf") if data.max_bytes is None else data.max_bytes
    for document in READERS[data.kind](data):
        for piece, piece_bytes in _pieces(document):
            if piece_bytes > left:
                content = piece.text.encode()
                kept = content[: files.character_border(content, int(left))].decode()
                piece, piece_bytes = piece._replace(text=kept), int(left)
            if piece.text:
                yield piece
            left -= piece_bytes
            if left <= 0:
                return


def source_files(data: DataConfig) -> list[Path]:
    """The files that ``data`` is read from, none for a source that does not list files.

    Raises :class:`CorpusError` for a path that names no file.
    """
    if not isinstance(data, TextData):
        return []
    return files.find_files(data.paths, ENDINGS[data.kind])


def exact_bytes(data: DataConfig) -> int | None:
    """Bytes of text in ``data`` if that is known before reading it, else None."""
    if data.kind != "text":
        return None
    paths = source_files(data)
    if any(path.suffix in (".gz", ".zst") for path in paths):
        return None
    total = sum(path.stat().st_size for path in paths)
    return total if data.max_bytes is None else min(total, data.max_bytes)


def _pieces(document: Document) -> Iterator[tuple[Document, int]]:
    """Cut a long document, and count the bytes of each piece."""
    try:
        content = document.text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CorpusError(
            f"{document.where}: character {error.start} is half of a surrogate pair, "
            "which UTF-8 cannot hold; repair or remove this document"
        ) from error
    if len(content) <= files.BLOCK_BYTES:
        yield document, len(content)
        return
    for _, block in files.blocks(cast(BinaryIO, io.BytesIO(content))):
        yield document._replace(text=block.decode()), len(block)


def _read_stdlib(data: DataConfig) -> Iterator[Document]:
    from pipeline.corpus.stdlib import read_stdlib

    for text, where, follows in read_stdlib():
        yield Document(text, where, follows)


def _read_text(data: DataConfig) -> Iterator[Document]:
    """Each file is a document."""
    for path in files.find_files(cast(TextData, data).paths):
        with files.opened(path) as stream:
            for offset, block in files.blocks(stream):
                yield Document(files.decoded(block, path, offset), f"{path}: byte {offset}")


def _read_jsonl(data: DataConfig) -> Iterator[Document]:
    """Each line that is not blank is a document."""
    jsonl = cast(JsonlData, data)
    for path in source_files(jsonl):
        with files.opened(path) as stream:
            for where, line in _lines(stream, path):
                if line.strip():
                    yield Document(text_field(_parsed(line, where), jsonl.field, where), where)


def _lines(stream: BinaryIO, path: Path) -> Iterator[tuple[str, str]]:
    """The lines of ``stream``, each with its place."""
    offset, number = 0, 0
    while line := stream.readline(LINE_LIMIT_BYTES):
        number += 1
        if len(line) == LINE_LIMIT_BYTES:
            raise CorpusError(
                f"{path}:{number}: a line longer than {LINE_LIMIT_BYTES // 2**20} MiB; "
                "JSON lines hold one document a line"
            )
        yield f"{path}:{number}", files.decoded(line, path, offset)
        offset += len(line)


def _parsed(line: str, where: str) -> Mapping[str, Any]:
    """The JSON object that ``line`` holds."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not a line of JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{where}: holds {_kind(value)}, not a JSON object with a field of text")
    return value


def text_field(row: Mapping[str, Any], field: str, where: str) -> str:
    """The text in ``row[field]``; raise :class:`CorpusError` if there is none."""
    if field not in row:
        present = ", ".join(map(str, row)) or "none"
        raise CorpusError(f"{where}: no field {field!r}; the fields are: {present}; set data.field")
    value = row[field]
    if not isinstance(value, str):
        raise CorpusError(f"{where}: field {field!r} holds {_kind(value)}, not text")
    return value


def _kind(value: object) -> str:
    """A value's type in a sentence."""
    return "null" if value is None else f"a value of type {type(value).__name__}"


def _read_parquet(data: DataConfig) -> Iterator[Document]:
    from pipeline.corpus.tables import read_parquet

    parquet = cast(ParquetData, data)
    for path in source_files(parquet):
        for number, value in read_parquet(path, parquet.field):
            where = f"{path}: row {number}"
            yield Document(text_field({parquet.field: value}, parquet.field, where), where)


def _read_hf(data: DataConfig) -> Iterator[Document]:
    from pipeline.corpus.tables import read_hf

    hf = cast(HfData, data)
    for number, row in read_hf(hf):
        where = f"{hf.path}: split {hf.split}, row {number}"
        yield Document(text_field(row, hf.field, where), where)


READERS: dict[str, Callable[[DataConfig], Iterator[Document]]] = {
    "stdlib": _read_stdlib,
    "text": _read_text,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "hf": _read_hf,
}
