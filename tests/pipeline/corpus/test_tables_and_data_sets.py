"""Parquet files and data sets of `datasets`, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from pipeline.corpus.sources import documents
from pipeline.errors import CorpusError
from pipeline.schema import HfData, ParquetData
from tests.pipeline.corpus.sources import texts, write


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
