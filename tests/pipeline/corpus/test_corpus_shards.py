"""Tokens come back as they were written, and whatever happened to them since is noticed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.shards import TokenSplit
from pipeline.corpus.vocabulary import token_dtype
from pipeline.corpus.writer import ShardWriter, replaced_together
from pipeline.errors import ShardError


def write_corpus(
    folder: Path, batches: list[list[int]], shard_tokens: int = 10, vocabulary: int = 300
) -> Path:
    """Write ``batches`` as the split "train" of a corpus."""
    writer = ShardWriter(folder, "train", shard_tokens)
    for batch in batches:
        writer.append(np.array(batch, token_dtype(vocabulary)), documents=1, text_bytes=7)
    (folder / "tokenizer.json").write_text("{}")
    manifest = {
        "format": 1,
        "corpus": "numbers",
        "dtype": token_dtype(vocabulary).name,
        "vocabulary": vocabulary,
        "end_of_text": 0,
        "tokenizer_sha256": hashlib.sha256(b"{}").hexdigest(),
        "inputs_sha256": "0" * 64,
        "splits": {"train": writer.close()},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@given(
    st.lists(st.lists(st.integers(0, 299), max_size=30), min_size=1).filter(any),
    st.integers(1, 40),
    st.data(),
)
def test_any_range_reads_back_across_shards(
    batches: list[list[int]], shard_tokens: int, data: st.DataObject
) -> None:
    tokens = [token for batch in batches for token in batch]
    start = data.draw(st.integers(0, len(tokens)))
    count = data.draw(st.integers(0, len(tokens) - start))
    with tempfile.TemporaryDirectory() as folder:
        split = TokenSplit.open(write_corpus(Path(folder), batches, shard_tokens), "train")
        assert (split.tokens, split.documents, split.bytes) == (
            len(tokens),
            len(batches),
            7 * len(batches),
        )
        read = split.read(start, count)
        assert read.dtype == np.int64
        assert read.tolist() == tokens[start : start + count]
        sizes = [path.stat().st_size for path in sorted(Path(folder).glob("*.bin"))]
        assert all(size == 2 * shard_tokens for size in sizes[:-1])


@pytest.mark.parametrize(("vocabulary", "itemsize"), [(65_535, 2), (65_536, 4)])
def test_large_ids_take_four_bytes(tmp_path: Path, vocabulary: int, itemsize: int) -> None:
    tokens = [vocabulary - 1, 0, vocabulary - 2]
    split = TokenSplit.open(write_corpus(tmp_path, [tokens], vocabulary=vocabulary), "train")
    assert split.read(0, 3).tolist() == tokens
    assert split.vocabulary == vocabulary
    assert (tmp_path / "train-00000.bin").stat().st_size == 3 * itemsize


def test_reading_past_the_end_is_refused(tmp_path: Path) -> None:
    split = TokenSplit.open(write_corpus(tmp_path, [[1, 2, 3]]), "train")
    for start, count in ((0, 4), (3, 1), (-1, 2), (1, -1)):
        with pytest.raises(IndexError):
            split.read(start, count)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "corpus").mkdir()
    return write_corpus(tmp_path / "corpus", [[1] * 25])


def refused(folder: Path, verify: bool = True) -> str:
    with pytest.raises(ShardError) as error:
        TokenSplit.open(folder, "train", verify)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(
        f"delete the folder {folder} and tokenize again with `snakemake` or "
        "`python -m pipeline.tokenize`"
    )
    return message


def test_a_truncated_shard_is_named_even_without_hashing(corpus: Path) -> None:
    shard = corpus / "train-00001.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert refused(corpus, verify=False).startswith(f"{shard}: has 19 bytes instead of 20;")


def test_a_missing_shard_is_named(corpus: Path) -> None:
    (corpus / "train-00002.bin").unlink()
    assert refused(corpus, verify=False).startswith(f"{corpus}/train-00002.bin: is missing;")


def test_an_altered_shard_is_named(corpus: Path) -> None:
    shard = corpus / "train-00002.bin"
    shard.write_bytes(b"\2" + shard.read_bytes()[1:])
    assert refused(corpus).startswith(f"{shard}: was altered: its SHA-256 is ")
    assert TokenSplit.open(corpus, "train", verify=False).tokens == 25


def test_an_altered_or_missing_tokenizer_is_named(corpus: Path) -> None:
    (corpus / "tokenizer.json").write_text("{ }")
    assert refused(corpus).startswith(f"{corpus}/tokenizer.json: was altered")
    (corpus / "tokenizer.json").unlink()
    assert refused(corpus).startswith(f"{corpus}/tokenizer.json: cannot be read")


def test_a_manifest_that_is_missing_truncated_or_altered(corpus: Path) -> None:
    path = corpus / "manifest.json"
    whole = path.read_text()
    for cut in range(len(whole)):
        path.write_text(whole[:cut])
        assert refused(corpus).startswith(f"{path}: cannot be read, truncated or altered")
    manifest: dict[str, Any] = json.loads(whole)
    for key in ("format", "dtype", "vocabulary", "end_of_text", "tokenizer_sha256", "splits"):
        path.write_text(json.dumps({name: manifest[name] for name in manifest if name != key}))
        assert refused(corpus).startswith(f"{path}: ")
    for altered in (
        manifest | {"format": 2},
        manifest | {"dtype": "uint32"},
        manifest | {"splits": {"train": manifest["splits"]["train"] | {"tokens": 24}}},
        manifest | {"splits": []},
        [],
    ):
        path.write_text(json.dumps(altered))
        assert refused(corpus).startswith(f"{path}: ")
    path.unlink()
    assert refused(corpus).startswith(f"{path}: is missing;")


def test_a_split_that_is_not_there(corpus: Path) -> None:
    with pytest.raises(ShardError, match="lacks 'validation'"):
        TokenSplit.open(corpus, "validation")


def test_a_new_corpus_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_corpus(tmp_path, [[1] * 25])
    (tmp_path / "config").mkdir()
    (tmp_path / "config/tokenize.yaml").write_text("kept")
    with replaced_together(tmp_path) as folder:
        write_corpus(folder, [[2] * 5])
        assert TokenSplit.open(tmp_path, "train").read(0, 1).tolist() == [1]
    assert TokenSplit.open(tmp_path, "train").read(0, 5).tolist() == [2] * 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config",
        "manifest.json",
        "tokenizer.json",
        "train-00000.bin",
    ]


def test_a_failure_leaves_the_old_corpus_and_nothing_of_the_new(tmp_path: Path) -> None:
    write_corpus(tmp_path, [[1] * 25])
    names = sorted(tmp_path.iterdir())

    def interrupted() -> None:
        with replaced_together(tmp_path) as folder:
            write_corpus(folder, [[2] * 5])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(tmp_path.iterdir()) == names
    assert TokenSplit.open(tmp_path, "train").read(0, 1).tolist() == [1]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial/train-00007.bin").write_bytes(b"half")
    with replaced_together(tmp_path) as folder:
        write_corpus(folder, [[2] * 5])
    assert not list(tmp_path.glob("**/train-00007.bin"))


def test_a_crash_between_the_moves_leaves_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path, [[1] * 25])
    move = Path.replace

    def crash_at_the_last_shard(self: Path, target: Path) -> Path:
        if self.name == "train-00001.bin":
            raise OSError(5, "Input/output error")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", crash_at_the_last_shard)
    with pytest.raises(OSError, match="Input/output"), replaced_together(tmp_path) as folder:
        write_corpus(folder, [[2] * 25])
    assert not (tmp_path / "manifest.json").exists()
