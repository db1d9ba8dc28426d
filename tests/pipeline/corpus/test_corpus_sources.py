"""Every source gives its documents lazily and in a fixed order, and says where it failed."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from pipeline.corpus import files
from pipeline.corpus.sources import Document, documents, exact_bytes
from pipeline.errors import CorpusError
from pipeline.schema import DataConfig, HfData, JsonlData, ParquetData, StdlibData, TextData


def texts(data: DataConfig) -> list[str]:
    return [document.text for document in documents(data)]


def text_data(*paths: Path | str, **settings: int) -> TextData:
    return TextData(name="t", paths=[str(path) for path in paths], **settings)


def jsonl_data(*paths: Path | str, field: str = "text") -> JsonlData:
    return JsonlData(name="j", paths=[str(path) for path in paths], field=field)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Text files


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
    import io

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


# JSON lines


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


# Parquet


def parquet_data(*paths: Path, field: str = "text") -> ParquetData:
    return ParquetData(name="p", paths=[str(path) for path in paths], field=field)


def parquet_file(path: Path, **columns: list[object]) -> Path:
    parquet.write_table(pa.table(columns), path, row_group_size=300)
    return path


def test_parquet(tmp_path: Path) -> None:
    rows = [f"row {i}" for i in range(1000)]
    path = parquet_file(tmp_path / "a.parquet", n=list(range(1000)), text=rows)
    assert texts(parquet_data(path)) == texts(parquet_data(tmp_path)) == rows
    assert [document.where for document in documents(parquet_data(path))][999] == f"{path}: row 999"


def test_errors_in_parquet(tmp_path: Path) -> None:
    path = parquet_file(tmp_path / "a.parquet", body=["x", None], n=[1, 2])
    with pytest.raises(CorpusError, match=r"no field 'text'; the fields are: body, n; set data.fi"):
        texts(parquet_data(path))
    with pytest.raises(CorpusError, match="row 0: field 'n' holds a value of type int, not text"):
        texts(parquet_data(path, field="n"))
    with pytest.raises(CorpusError, match="row 1: field 'body' holds null, not text"):
        texts(parquet_data(path, field="body"))
    whole = path.read_bytes()
    for damaged in (b"", b"no parquet", whole[:-9], whole[:4] + b"\xff" * 40 + whole[44:]):
        path.write_bytes(damaged)
        with pytest.raises(CorpusError, match=r"a.parquet: not Parquet, or damaged"):
            texts(parquet_data(path, field="body"))


def test_parquet_strings_that_are_not_utf8(tmp_path: Path) -> None:
    binary = pa.array([b"good", b"\xff\xfe"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, binary.buffers())
    path = parquet_file(tmp_path / "a.parquet", text=column)
    with pytest.raises(CorpusError, match=r"a.parquet: row 1: field 'text' is not UTF-8"):
        texts(parquet_data(path))


# Data sets of `datasets`


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


def test_local_directory_of_data_files(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", '{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n')
    assert texts(HfData(name="h", path=str(tmp_path))) == ["one", "two"]


def test_saved_data_sets(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["one", "two"], "n": [1, 2]})
    rows.save_to_disk(str(tmp_path / "set"))
    datasets.DatasetDict({"dev": rows}).save_to_disk(str(tmp_path / "sets"))
    assert texts(HfData(name="h", path=str(tmp_path / "set"))) == ["one", "two"]
    assert texts(HfData(name="h", path=str(tmp_path / "sets"), split="dev")) == ["one", "two"]
    with pytest.raises(CorpusError, match=r"data.split: 'train' is not one of dev"):
        texts(HfData(name="h", path=str(tmp_path / "sets")))


def test_errors_of_data_sets(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", '{"body": "one", "n": 1}\n')
    path = str(tmp_path)
    with pytest.raises(CorpusError, match="row 0: no field 'text'; the fields are: body, n"):
        texts(HfData(name="h", path=path))
    with pytest.raises(CorpusError, match="row 0: field 'n' holds a value of type int"):
        texts(HfData(name="h", path=path, field="n"))
    for wrong in (
        HfData(name="h", path=path, split="nope"),
        HfData(name="h", path=path, subset="nope"),
        HfData(name="h", path=f"{path}/nope"),
    ):
        with pytest.raises(CorpusError, match=r"data.path: cannot read data set .*nope") as error:
            texts(wrong)
        assert "\n" not in str(error.value)


# The standard library


def test_stdlib_is_large_ordered_and_free_of_tests() -> None:
    first = list(documents(StdlibData(name="s")))
    assert sum(len(document.text.encode()) for document in first) > 10e6
    assert first == list(documents(StdlibData(name="s")))
    places = [document.where for document in first]
    assert "json/decoder.py" in places
    assert not any(
        part in ("test", "tests", "site-packages", "idle_test")
        for place in places
        for part in place.split("/")
    )


def test_stdlib_documentation_is_a_document_that_follows_its_source() -> None:
    found = {document.where: document for document in documents(StdlibData(name="s"))}
    source, strings = found["json/__init__.py"], found["json/__init__.py: documentation"]
    assert strings.text.startswith("json\n\nJSON (JavaScript Object Notation)")
    assert "Serialize ``obj`` to a JSON formatted ``str``." in strings.text
    assert "import" in source.text
    assert strings.follows == source.text
    assert source.follows is None


def test_documentation_strings_come_in_order_and_unindented() -> None:
    from pipeline.corpus.stdlib import documentation

    source = '''"""Module."""
try:
    def f():
        """One.

        More:
            indented
        """
        class Inner: "Inner."
except Exception:
    async def g(): "Two."
x = "no documentation"
'''
    assert documentation(source) == "Module.\n\nOne.\n\nMore:\n    indented\n\nInner.\n\nTwo."
    assert documentation("x = 1") == ""
    assert documentation("this is no Python") == ""


def test_stdlib_takes_python_s_own_encodings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "latin.py", "# coding: latin-1\n# é\n".encode("latin-1"))
    write(tmp_path / "broken.py", b"# \xff\n")
    write(tmp_path / "test/test_x.py", "x = 1\n")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert texts(StdlibData(name="s")) == ["# coding: latin-1\n# é\n"]


def test_a_python_without_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "python311.zip"))
    with pytest.raises(CorpusError, match=r"python311.zip; use another Python, or data=text"):
        texts(StdlibData(name="s"))


# What can be wrong with any file


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
