"""The tokenize stage: what it writes holds the text, all of it, always the same; or nothing."""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipeline import tokenize
from pipeline.config import compose
from pipeline.corpus.shards import TokenSplit
from pipeline.corpus.split import SPLITS
from pipeline.corpus.tokenizer import train_bpe
from pipeline.corpus.writer import ShardWriter
from pipeline.errors import ConfigError, CorpusError, TokenizerError
from pipeline.job import Job
from pipeline.schema import (
    BpeTokenizer,
    DataConfig,
    FileTokenizer,
    JsonlData,
    StdlibData,
    TextData,
    TokenizerConfig,
    TrackingConfig,
)
from pipeline.slices import TokenizeSlice

BPE = BpeTokenizer(name="bpe", vocabulary=300, training_bytes=10_000)


def tokenized(results: Path, data: DataConfig, tokenizer: TokenizerConfig = BPE) -> Path:
    """Run the stage; return the folder of the corpus."""
    job = Job(
        "tokenize", "0" * 64, "corpus", results, TokenizeSlice(data, tokenizer), TrackingConfig()
    )
    tokenize.run(job)
    return job.corpus_directory(job.run)


def jsonl(path: Path, texts: list[str], fraction: float = 0.3) -> JsonlData:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return JsonlData(name="j", paths=[str(path)], validation_fraction=fraction)


def decoded(folder: Path) -> dict[str, list[str]]:
    """The documents of each split, as the shards hold them."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = {}
    for name in SPLITS:
        split = TokenSplit.open(folder, name)
        tokens = split.read(0, split.tokens)
        ends = np.flatnonzero(tokens == split.end_of_text)
        assert len(ends) == split.documents
        assert ends[-1] == split.tokens - 1
        pieces = np.split(tokens, ends + 1)[:-1]
        found[name] = [tokenizer.decode(piece[:-1], skip_special_tokens=False) for piece in pieces]
        assert sum(len(text.encode()) for text in found[name]) == split.bytes
    return found


@pytest.fixture
def texts() -> list[str]:
    return [f"document {i}: some words, {i * i} and ümläuts 😀\r\n" for i in range(100)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=20), st.integers(1, 50))
def test_bytes_in_are_bytes_out_whatever_the_shard_size(
    texts: list[str], shard_tokens: int
) -> None:
    texts = [*texts, "<|endoftext|> in a text", *map(str, range(30))]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        small = functools.partial(ShardWriter, shard_tokens=shard_tokens)
        patch.setattr(tokenize, "ShardWriter", small)
        folder = tokenized(Path(name), jsonl(Path(name, "a.jsonl"), texts))
        found = decoded(folder)
    sides = {text: side for side in SPLITS for text in found[side]}
    for side in SPLITS:
        assert found[side] == [text for text in texts if sides[text] == side]


def test_manifest_says_what_was_written(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tokenized(tmp_path, jsonl(tmp_path / "a.jsonl", texts))
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    split_tokens = [part["tokens"] for part in manifest["splits"].values()]
    digest = hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert manifest["tokenizer_sha256"] == digest
    assert manifest["corpus"] == "corpus"
    assert (manifest["format"], manifest["dtype"], manifest["vocabulary"]) == (1, "uint16", 300)
    assert (manifest["end_of_text"], manifest["measured"]) == (0, True)
    assert sum(part["documents"] for part in manifest["splits"].values()) == 100
    speed = sum(split_tokens) / manifest["seconds"]
    assert manifest["tokens_per_second"] == pytest.approx(speed)
    summary = capsys.readouterr().out.splitlines()[-1]
    assert summary.startswith(
        f"corpus corpus: {sum(split_tokens):,} tokens, {split_tokens[1]:,} of"
    )
    assert "from 100 documents" in summary


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def test_the_same_text_gives_the_same_files(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jsonl(tmp_path / "a.jsonl", texts)
    first = tokenized(tmp_path / "first", data)
    monkeypatch.setattr("pipeline.corpus.encoding.BATCH_BYTES", 100)
    second = tokenized(tmp_path / "second", data)
    assert contents(first) == contents(second)
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()
    hashes = [
        json.loads((f / "manifest.json").read_text())["inputs_sha256"] for f in (first, second)
    ]
    assert hashes[0] == hashes[1]
    changed = tokenized(tmp_path / "third", jsonl(tmp_path / "b.jsonl", [*texts[:-1], "other"]))
    assert json.loads((changed / "manifest.json").read_text())["inputs_sha256"] != hashes[0]


def test_documents_keep_their_side_when_others_are_added(tmp_path: Path, texts: list[str]) -> None:
    few = decoded(tokenized(tmp_path / "few", jsonl(tmp_path / "a.jsonl", texts[50:])))
    all_ = decoded(tokenized(tmp_path / "all", jsonl(tmp_path / "b.jsonl", texts + texts[:10])))
    for side in SPLITS:
        assert few[side] == [text for text in all_[side] if text in texts[50:]]
    assert not set(all_["train"]) & set(all_["validation"])


def test_validation_text_does_not_train_the_tokenizer(tmp_path: Path, texts: list[str]) -> None:
    folder = tokenized(tmp_path, jsonl(tmp_path / "a.jsonl", texts))
    training = decoded(folder)["train"]
    assert (folder / "tokenizer.json").read_bytes() == train_bpe(BPE, training).definition


def test_an_existing_tokenizer_is_taken_as_it_is(tmp_path: Path, texts: list[str]) -> None:
    given_file = tmp_path / "given/tokenizer.json"
    given_file.parent.mkdir()
    given_file.write_bytes(train_bpe(BPE, texts).definition)
    tokenizer = FileTokenizer(name="f", path=str(given_file.parent))
    folder = tokenized(tmp_path, jsonl(tmp_path / "a.jsonl", texts), tokenizer)
    assert (folder / "tokenizer.json").read_bytes() == given_file.read_bytes()
    assert sorted(itertools.chain(*decoded(folder).values())) == sorted(texts)


def test_stdlib_with_a_limit(tmp_path: Path) -> None:
    data = StdlibData(name="s", max_bytes=300_000, validation_fraction=0.3)
    found = decoded(tokenized(tmp_path, data))
    assert sum(len(text.encode()) for side in SPLITS for text in found[side]) == 300_000


# What can go wrong


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("lines", [[], [""], ["", ""]])
def test_an_empty_corpus(tmp_path: Path, lines: list[str]) -> None:
    with pytest.raises(CorpusError, match=r"empty|no text"):
        tokenized(tmp_path / "r", jsonl(tmp_path / "a.jsonl", lines))
    assert files_below(tmp_path / "r") == []


@pytest.mark.parametrize(("fraction", "word"), [(1e-9, "raise"), (1 - 1e-9, "lower|no text")])
def test_a_corpus_too_small_to_divide(tmp_path: Path, fraction: float, word: str) -> None:
    with pytest.raises(CorpusError, match=word):
        tokenized(tmp_path / "r", jsonl(tmp_path / "a.jsonl", ["one", "two"], fraction))
    assert files_below(tmp_path / "r") == []


def test_an_error_in_the_text_leaves_nothing_half_finished(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.corpus.encoding.BATCH_BYTES", 1000)
    (tmp_path / "tokenizer.json").write_bytes(train_bpe(BPE, texts).definition)
    tokenizer = FileTokenizer(name="f", path=str(tmp_path))
    data = jsonl(tmp_path / "a.jsonl", texts)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("{broken\n")
    with pytest.raises(CorpusError, match=r"a.jsonl:101: not a line of JSON"):
        tokenized(tmp_path / "r", data, tokenizer)
    assert files_below(tmp_path / "r") == []


def test_a_full_disk_leaves_the_older_corpus(
    tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = decoded(tokenized(tmp_path / "r", jsonl(tmp_path / "a.jsonl", texts)))

    def full(self: ShardWriter, tokens: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ShardWriter, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        tokenized(tmp_path / "r", jsonl(tmp_path / "b.jsonl", texts[:50]))
    folder = tmp_path / "r/corpus/corpus"
    assert decoded(folder) == before
    assert not list(folder.glob(".*"))


def test_no_permission_to_write_is_the_system_s_own_error(tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        tokenized(tmp_path / "file/results", jsonl(tmp_path / "a.jsonl", texts))


def test_an_unknown_kind_of_tokenizer(tmp_path: Path) -> None:
    data = TextData(name="t", paths=[str(tmp_path)])
    with pytest.raises(ConfigError, match=r"tokenizer.kind: 'words' is neither 'bpe' nor 'file'"):
        tokenized(tmp_path, data, TokenizerConfig(kind="words", name="w"))
    with pytest.raises(TokenizerError, match=r"tokenizer.path"):
        tokenized(tmp_path, data, FileTokenizer(name="f", path=str(tmp_path / "nope")))


# The command line, and processes of their own


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "pipeline.tokenize", *overrides]


def test_the_choices_in_conf_compose() -> None:
    paths = "data.paths=[books]"
    for choice in ("stdlib", "text", "jsonl", "parquet", "hf"):
        needed = {"stdlib": [], "hf": ["data.path=name"]}.get(choice, [paths])
        config = compose([f"data={choice}", *needed])
        assert (config.data.kind, config.data.name) == (choice, choice)
    for size in (512, 4096, 32768):
        tokenizer = compose([f"tokenizer=bpe_{size}"]).tokenizer
        assert isinstance(tokenizer, BpeTokenizer)
        assert (tokenizer.name, tokenizer.vocabulary) == (f"bpe_{size}", size)
    assert compose(["tokenizer=file", "tokenizer.path=x"]).tokenizer.kind == "file"


def test_a_full_disk_is_one_line_on_the_command_line(tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    overrides = (f"results={tmp_path}", "data.max_bytes=2000000", "tokenizer=bpe_512")
    done = subprocess.run(
        command(*overrides), capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "train-00000.bin: no space left to write" in done.stderr
    assert files_below(tmp_path) == ["tokenize.yaml"]


@pytest.mark.slow
def test_a_killed_process_leaves_no_manifest_and_the_next_one_succeeds(tmp_path: Path) -> None:
    overrides = (f"results={tmp_path}", "tokenizer=bpe_512", "tokenizer.training_bytes=1000000")
    process = subprocess.Popen(command(*overrides), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("train-00000.bin")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.rglob("manifest.json"))
    subprocess.run(command(*overrides), check=True, stdout=subprocess.DEVNULL)
    (manifest,) = tmp_path.rglob("manifest.json")
    assert TokenSplit.open(manifest.parent, "train").tokens > 1_000_000
    assert not list(tmp_path.rglob(".partial"))


PEAK = """
import sys
from pathlib import Path
from pipeline import machine, tokenize
from pipeline.job import Job
from pipeline.schema import BpeTokenizer, TextData, TrackingConfig
from pipeline.slices import TokenizeSlice
folder = Path(sys.argv[1])
data = TextData(name="t", paths=[str(folder / "text")])
tokenizer = BpeTokenizer(name="b", vocabulary=300, training_bytes=1_000_000)
slice = TokenizeSlice(data, tokenizer)
tokenize.run(Job("tokenize", "0" * 64, "c", folder / "results", slice, TrackingConfig()))
print(machine.peak_rss_bytes())
"""


def peak_rss_bytes(folder: Path, megabytes: int) -> int:
    """Peak memory of the stage on one file of ``megabytes``, half of them a single line."""
    (folder / "text").mkdir(parents=True)
    with (folder / "text/big.txt").open("w") as file:
        for number in range(megabytes):
            end = "\n" if number < megabytes / 2 else " "
            line = f"{number} " + "some words of a text " * 47 + end
            file.write(line * (10**6 // len(line)))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"RAYON_NUM_THREADS": "2"},
    )
    return int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    small, large = peak_rss_bytes(tmp_path / "a", 20), peak_rss_bytes(tmp_path / "b", 150)
    assert large < small + 100e6
    assert large < 700e6
