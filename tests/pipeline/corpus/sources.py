"""Files of text and of JSON lines, and the documents that a source finds."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpus.sources import documents
from pipeline.schema import DataConfig, JsonlData, TextData


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
