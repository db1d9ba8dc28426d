"""Text and JSON lines give their documents lazily and in a fixed order."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import files
from pipeline.corpus.sources import Document, documents, exact_bytes
from pipeline.errors import CorpusError
from tests.pipeline.corpus.sources import jsonl_data, text_data, texts, write


def test_files_globs_and_directories_each_once_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/x.md", "a/deep/y.txt", ".hidden", "a/.git/z"):
        write(tmp_path / name, name)
    assert texts(text_data(tmp_path / "b.txt")) == ["b.txt"]
    assert texts(text_data(tmp_path / "*.txt")) == ["b.txt"]
    assert texts(text_data(tmp_path / "**/*.txt")) == ["a/deep/y.txt", "b.txt"]
    everything = ["b.txt", "a/x.md", "a/deep/y.txt"]
    assert texts(text_data(tmp_path)) == everything
    assert texts(text_data(tmp_path, tmp_path / "b.txt", tmp_path / "**")) == everything


def test_a_name_with_glob_characters_is_taken_as_it_is(tmp_path: Path) -> None:
    assert texts(text_data(write(tmp_path / "notes[1].txt", "one"))) == ["one"]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_text_keeps_every_byte(tmp_path: Path, ending: str) -> None:
    content = "\ufeffa\r\nb\r\0é😀\n".encode()
    packed = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path = write(tmp_path / f"t.txt{ending}", packed[ending](content))
    assert [text.encode() for text in texts(text_data(path))] == [content]


@given(st.text(st.sampled_from("ab\né😀"), max_size=60), st.integers(4, 20))
def test_long_text_is_cut_without_loss(text: str, block_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK_BYTES", block_bytes)
        pieces = list(files.blocks(io.BytesIO(text.encode())))
    assert b"".join(piece for _, piece in pieces).decode() == text
    assert all(0 < len(piece) <= block_bytes for _, piece in pieces)
    assert "".join(piece.decode() for _, piece in pieces) == text  # no character is cut
    assert [offset for offset, _ in pieces] == [
        sum(len(piece) for _, piece in pieces[:i]) for i in range(len(pieces))
    ]
    for (_, piece), _ in itertools.pairwise(pieces):
        assert piece.endswith(b"\n") or b"\n" not in piece


def test_a_large_file_becomes_documents_of_whole_lines(tmp_path: Path) -> None:
    line = "x" * 99 + "\n"
    found = texts(text_data(write(tmp_path / "big.txt", line * 25_000)))
    assert len(found) == 10
    assert "".join(found) == line * 25_000
    assert all(text.endswith("\n") and len(text) <= files.BLOCK_BYTES for text in found)


def test_long_documents_of_other_sources_are_cut_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "é" * files.BLOCK_BYTES}))
    assert [len(text.encode()) for text in texts(jsonl_data(path))] == [files.BLOCK_BYTES] * 2


def test_reading_is_lazy(tmp_path: Path) -> None:
    data = text_data(write(tmp_path / "a", "good"), write(tmp_path / "b", b"\xff"))
    assert next(documents(data)).text == "good"


def test_max_bytes_stops_between_characters(tmp_path: Path) -> None:
    write(tmp_path / "a", "abc")
    write(tmp_path / "b", "ééé")
    write(tmp_path / "c", b"\xff is never read")
    assert texts(text_data(tmp_path, max_bytes=3)) == ["abc"]
    assert texts(text_data(tmp_path, max_bytes=6)) == ["abc", "é"]
    assert texts(text_data(tmp_path, max_bytes=7)) == ["abc", "éé"]
    assert texts(text_data(tmp_path / "a", max_bytes=100)) == ["abc"]


def test_size_is_known_before_reading_where_files_are_the_text(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a", "abc"), write(tmp_path / "b.gz", gzip.compress(b"abc"))
    assert exact_bytes(text_data(plain)) == 3
    assert exact_bytes(text_data(plain, max_bytes=2)) == 2
    assert exact_bytes(text_data(plain, packed)) is None
    assert exact_bytes(jsonl_data(plain)) is None


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_json_lines(tmp_path: Path, ending: str) -> None:
    content = b'{"body": "one\\n", "n": 1}\n\n{"n": 2, "body": "tw\\u00f6"}\n{"body": ""}'
    halves = (content[:20], content[20:])
    compress = {
        "": b"".join,
        # Two members or frames in one file, as parallel compressors write.
        ".gz": lambda parts: b"".join(map(gzip.compress, parts)),
        ".zst": lambda parts: b"".join(map(zstandard.ZstdCompressor().compress, parts)),
    }
    path = write(tmp_path / f"d/x.jsonl{ending}", compress[ending](halves))
    write(tmp_path / "d/README.md", "not JSON")
    expected = [
        Document("one\n", f"{path}:1"),
        Document("twö", f"{path}:3"),
    ]
    assert list(documents(jsonl_data(path, field="body"))) == expected
    assert list(documents(jsonl_data(tmp_path / "d", field="body"))) == expected
    assert list(documents(jsonl_data(tmp_path / "d/*.jsonl*", field="body"))) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", "x.jsonl:2: not a line of JSON"),
        ("[1]", "x.jsonl:2: holds a value of type list, not a JSON object"),
        ('{"a": 1, "b": 2}', "x.jsonl:2: no field 'text'; the fields are: a, b; set data.field"),
        ('{"text": 5}', "x.jsonl:2: field 'text' holds a value of type int, not text"),
        ('{"text": null}', "x.jsonl:2: field 'text' holds null, not text"),
        ('{"text": "\\ud800"}', "x.jsonl:2: character 0 is half of a surrogate pair"),
        ("[" * 100_000, "x.jsonl:2: not a line of JSON"),
    ],
)
def test_errors_in_json_lines_name_the_line(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "x.jsonl", '{"text": "good"}\n' + line + "\n")
    with pytest.raises(CorpusError) as error:
        texts(jsonl_data(path))
    assert str(error.value).startswith(f"{tmp_path}/{message}")


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.corpus.sources.LINE_LIMIT_BYTES", 2**20)
    path = write(tmp_path / "x.jsonl", json.dumps([{"text": "a" * 100}] * 20_000))
    with pytest.raises(CorpusError, match=r"x.jsonl:1: a line longer than 1 MiB"):
        texts(jsonl_data(path))
