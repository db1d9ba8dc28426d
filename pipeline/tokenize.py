"""The tokenize stage: text becomes the token shards that training and evaluation read.

    python -m pipeline.tokenize                                   the standard library's text
    python -m pipeline.tokenize data=text 'data.paths=[books]'    your own
    python -m pipeline.tokenize data=stdlib data.max_bytes=1000000 tokenizer=bpe_512   in seconds

A tokenizer that is to be trained takes one pass over the text for a sample of it; encoding
takes another. Writes ``manifest.json``, ``tokenizer.json`` and the shards, all or nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pipeline.cli import stage_main
from pipeline.corpus.encoding import encode
from pipeline.corpus.shards import FORMAT
from pipeline.corpus.sources import documents, exact_bytes
from pipeline.corpus.split import SPLITS, SplitDocument, divide, require_both_splits, sample
from pipeline.corpus.tokenizer import CorpusTokenizer, read_tokenizer, train_bpe
from pipeline.corpus.vocabulary import token_dtype
from pipeline.corpus.writer import ShardWriter, replaced_together
from pipeline.errors import ConfigError
from pipeline.files import write_bytes, write_json
from pipeline.job import Job
from pipeline.progress import Progress, byte_count, count
from pipeline.schema import BpeTokenizer, DataConfig, FileTokenizer
from pipeline.slices import TokenizeSlice


def run(job: Job[TokenizeSlice]) -> None:
    """Write the corpus ``job.run`` and say in one line what it holds."""
    started = time.perf_counter()
    data = job.config.data
    with replaced_together(job.corpus_directory(job.run)) as folder:
        tokenizer, total_bytes = _tokenizer(job.config)
        write_bytes(folder / "tokenizer.json", tokenizer.definition)
        splits, inputs_sha256 = _write_shards(data, tokenizer, total_bytes, folder)
        require_both_splits({split: splits[split]["documents"] for split in SPLITS})
        seconds = time.perf_counter() - started
        tokens = sum(part["tokens"] for part in splits.values())
        manifest = {
            "format": FORMAT,
            "corpus": job.run,
            "dtype": token_dtype(tokenizer.vocabulary).name,
            "vocabulary": tokenizer.vocabulary,
            "end_of_text": tokenizer.end_of_text,
            "tokenizer_sha256": hashlib.sha256(tokenizer.definition).hexdigest(),
            "inputs_sha256": inputs_sha256,
            "splits": splits,
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "measured": True,
        }
        write_json(folder / "manifest.json", manifest)
    print(_summary(manifest), flush=True)


def _tokenizer(config: TokenizeSlice) -> tuple[CorpusTokenizer, int | None]:
    """The tokenizer, and the bytes of the whole text as far as known by then."""
    if config.tokenizer.kind == "file":
        tokenizer = read_tokenizer(cast(FileTokenizer, config.tokenizer))
        return tokenizer, exact_bytes(config.data)
    if config.tokenizer.kind != "bpe":
        raise ConfigError(f"tokenizer.kind: {config.tokenizer.kind!r} is neither 'bpe' nor 'file'")
    bpe = cast(BpeTokenizer, config.tokenizer)
    with Progress("reading", exact_bytes(config.data), show=byte_count) as bar:
        chosen = sample(_watched(_divided(config.data), bar), bpe.training_bytes)
    size = byte_count(sum(document.text_bytes for document in chosen))
    print(f"training a tokenizer of {bpe.vocabulary} tokens on {size} of it", flush=True)
    return train_bpe(bpe, [document.text for document in chosen]), int(bar.done)


def _divided(data: DataConfig) -> Iterator[SplitDocument]:
    return divide(documents(data), data.validation_fraction)


def _watched(documents: Iterator[SplitDocument], bar: Progress) -> Iterator[SplitDocument]:
    for document in documents:
        done = bar.done + document.text_bytes
        bar.update(done, f"{byte_count(done / bar.seconds)}/s")
        yield document


def _write_shards(
    data: DataConfig, tokenizer: CorpusTokenizer, total_bytes: int | None, folder: Path
) -> tuple[dict[str, Any], str]:
    """Encode all documents into shards; return the manifest's splits and hash of the inputs."""
    inputs = hashlib.sha256()

    def hashed() -> Iterator[SplitDocument]:
        for document in _divided(data):
            inputs.update(document.digest)
            yield document

    writers = {split: ShardWriter(folder, split) for split in SPLITS}
    tokens = 0
    with Progress("tokenizing", total_bytes, show=byte_count) as bar:
        for part in encode(tokenizer, hashed()):
            writers[part.split].append(part.tokens, part.documents, part.text_bytes)
            tokens += len(part.tokens)
            done = bar.done + part.text_bytes
            speed = f"{byte_count(done / bar.seconds)}/s"
            bar.update(done, f"{speed}  {count(tokens / bar.seconds)} tokens/s")
    return {split: writer.close() for split, writer in writers.items()}, inputs.hexdigest()


def _summary(manifest: dict[str, Any]) -> str:
    """One line on a finished corpus."""
    splits, seconds = manifest["splits"], manifest["seconds"]
    tokens, text_bytes, texts = (
        sum(part[key] for part in splits.values()) for key in ("tokens", "bytes", "documents")
    )
    return (
        f"corpus {manifest['corpus']}: {tokens:,} tokens, "
        f"{splits['validation']['tokens']:,} of them for validation, "
        f"from {texts:,} documents, {byte_count(text_bytes)}, "
        f"{text_bytes / tokens:.2f} bytes per token, in {seconds:.1f} s "
        f"({byte_count(text_bytes / seconds)}/s)"
    )


if __name__ == "__main__":
    stage_main("tokenize", run)
