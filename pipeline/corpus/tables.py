"""Text in tables: Parquet files and data sets of ``datasets``, read a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import CorpusError
from pipeline.schema import HfData

BATCH_ROWS = 256
READ_BYTES = 2**20


def read_parquet(path: Path, field: str) -> Iterator[tuple[int, Any]]:
    """The number (from 0) and the value in ``field`` of each row.

    Raises :class:`CorpusError` for a file that is damaged or lacks the field.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        # A buffer keeps Arrow from reading a whole column of a row group at once.
        with parquet.ParquetFile(path, buffer_size=READ_BYTES) as table:
            names = table.schema_arrow.names
            if field not in names:
                fields = ", ".join(names)
                raise CorpusError(
                    f"{path}: no field {field!r}; the fields are: {fields}; set data.field"
                )
            row = 0
            for batch in table.iter_batches(BATCH_ROWS, columns=[field]):
                for value in batch.column(0):
                    yield row, value.as_py()
                    row += 1
    except PermissionError as error:
        raise CorpusError(f"{path}: no permission to read it; change its owner or mode") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: row {row}: field {field!r} is not UTF-8: {error}") from error
    except (OSError, pyarrow.ArrowException) as error:
        raise CorpusError(f"{path}: not Parquet, or damaged: {error}") from error


def read_hf(data: HfData) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The number (from 0) and the fields of each row of a data set.

    Raises :class:`CorpusError` for whatever ``datasets`` cannot open or read.
    """
    with _explained(data):
        rows = _open(data)
        names = rows.column_names
        if names and data.field in names:
            rows = rows.select_columns([data.field])
        yield from enumerate(rows)


def _open(data: HfData) -> Any:
    """The rows of ``data``: streamed, or mapped from a folder that ``save_to_disk`` wrote."""
    import datasets

    path = Path(data.path).expanduser()
    if not any((path / name).exists() for name in ("state.json", "dataset_dict.json")):
        return datasets.load_dataset(
            str(path) if path.is_dir() else data.path,
            name=data.subset,
            split=data.split,
            revision=data.revision,
            streaming=True,
        )
    saved = datasets.load_from_disk(str(path))
    if not isinstance(saved, datasets.DatasetDict):
        return saved
    if data.split not in saved:
        raise CorpusError(f"data.split: {data.split!r} is not one of {', '.join(saved)}")
    return saved[data.split]


@contextmanager
def _explained(data: HfData) -> Iterator[None]:
    """Turn the many errors of ``datasets`` into one line."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorpusError(f"data.path: cannot read data set {data.path}: {reason}") from error
