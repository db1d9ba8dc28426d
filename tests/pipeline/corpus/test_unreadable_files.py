"""What can be wrong with any file: said with its name and the place in it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from pipeline.corpus import files
from pipeline.corpus.sources import documents
from pipeline.errors import CorpusError
from tests.pipeline.corpus.sources import jsonl_data, text_data, texts, write


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"data.paths: no file matches .*/nope.txt; give files"):
        texts(text_data(tmp_path / "nope.txt"))
    with pytest.raises(CorpusError, match=r"data.paths: no file matches .*/\*.txt"):
        texts(text_data(tmp_path / "*.txt"))
    with pytest.raises(CorpusError, match=r"data.paths: directory .* holds no file"):
        texts(text_data(tmp_path))
    with pytest.raises(CorpusError, match=r"directory .* holds no .jsonl or .* file"):
        texts(jsonl_data(tmp_path))
    with pytest.raises(CorpusError, match=r"data.paths: empty"):
        texts(text_data())


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    path = write(tmp_path / "a.txt", line * 20_000 + b"ab\xe9\n")
    with pytest.raises(CorpusError, match=r"a.txt: byte 2000002 \(0xe9\) is not UTF-8; convert"):
        texts(text_data(path))
    path = write(tmp_path / "a.jsonl", b'{"text": "good"}\n{"text": "\xff"}\n')
    with pytest.raises(CorpusError, match=r"a.jsonl: byte 27 \(0xff\) is not UTF-8"):
        texts(jsonl_data(path))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_damaged_compression(tmp_path: Path, ending: str) -> None:
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[ending]
    whole = pack("\n".join(json.dumps({"text": f"{i * i}"}) for i in range(9999)).encode())
    for damaged in (whole[:-5], whole[: len(whole) // 2], b"not compressed"):
        path = write(tmp_path / f"x.jsonl{ending}", damaged)
        with pytest.raises(CorpusError, match=rf"x.jsonl{ending}: cannot be read, missing or dam"):
            texts(jsonl_data(path))


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = write(tmp_path / "a.txt", "secret")
    monkeypatch.setattr(files, "_open", refuse)
    with pytest.raises(CorpusError, match=r"a.txt: no permission to read it"):
        texts(text_data(path))


def test_a_file_that_vanishes_while_reading(tmp_path: Path) -> None:
    data = text_data(write(tmp_path / "a", "one"), write(tmp_path / "b", "two"))
    reader = documents(data)
    next(reader)
    (tmp_path / "b").unlink()
    with pytest.raises(CorpusError, match="b: cannot be read, missing or damaged: No such file"):
        next(reader)
