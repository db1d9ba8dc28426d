"""Any text survives the tokenizer, and a tokenizer from elsewhere is checked before it is used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors

from pipeline.corpus.tokenizer import CorpusTokenizer, read_tokenizer, train_bpe
from pipeline.corpus.vocabulary import check_vocabulary, token_dtype
from pipeline.errors import CorpusError, TokenizerError
from pipeline.schema import BpeTokenizer, FileTokenizer

TEXTS = ["def add(a, b):\n    return a + b\n", "the quick brown fox, the lazy dog. " * 5] * 3


def trained(vocabulary: int = 290) -> CorpusTokenizer:
    config = BpeTokenizer(name="b", vocabulary=vocabulary, training_bytes=10**6)
    return train_bpe(config, TEXTS)


def ids(tokenizer: CorpusTokenizer, text: str) -> list[int]:
    return tokenizer.tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def bpe() -> CorpusTokenizer:
    return trained()


@given(text=st.text())
def test_bytes_in_are_bytes_out(bpe: CorpusTokenizer, text: str) -> None:
    assert bpe.tokenizer.decode(ids(bpe, text), skip_special_tokens=False) == text


def test_end_of_text_is_token_0_and_never_comes_from_text(bpe: CorpusTokenizer) -> None:
    assert bpe.tokenizer.id_to_token(0) == "<|endoftext|>"
    assert bpe.end_of_text == 0
    assert bpe.vocabulary == 290
    assert 0 not in ids(bpe, "one<|endoftext|>two")


def test_training_is_deterministic_and_merges() -> None:
    assert trained().definition == trained().definition
    assert len(ids(trained(), TEXTS[1])) < len(TEXTS[1]) / 2


def test_little_text_gives_a_smaller_vocabulary() -> None:
    assert 257 < trained(10_000).vocabulary < 400


def test_training_refuses_what_cannot_work() -> None:
    with pytest.raises(
        TokenizerError, match=r"tokenizer.vocabulary: 256 is too small; .* need 257"
    ):
        trained(256)
    with pytest.raises(CorpusError, match="no text"):
        train_bpe(BpeTokenizer(name="b", vocabulary=300, training_bytes=1), [])


def saved(folder: Path, special: list[str], **settings: object) -> Path:
    """Write a word-level tokenizer with ``special`` tokens."""
    tokenizer = Tokenizer(models.WordLevel({"hello": 0, "world": 1, "[UNK]": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    if settings.get("wrapped"):
        bos = tokenizer.token_to_id(special[0])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], bos)]
        )
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("special", "end"),
    [
        (["<pad>", "<|endoftext|>", "</s>"], "<|endoftext|>"),
        (["<s>", "</s>"], "</s>"),
        (["<bos>", "<eos>"], "<eos>"),
        (["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], "<|end_of_text|>"),
    ],
)
def test_end_of_text_of_existing_tokenizers(tmp_path: Path, special: list[str], end: str) -> None:
    folder = saved(tmp_path, special)
    for path in (folder, folder / "tokenizer.json"):
        found = read_tokenizer(FileTokenizer(name="f", path=str(path)))
        assert found.tokenizer.id_to_token(found.end_of_text) == end
        assert found.definition == (folder / "tokenizer.json").read_bytes()


def test_the_end_of_text_that_a_directory_names_comes_first(tmp_path: Path) -> None:
    folder = saved(tmp_path, ["</s>", "<end>"])
    for token in ("<end>", {"content": "<end>"}):
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": token}))
        found = read_tokenizer(FileTokenizer(name="f", path=str(folder)))
        assert found.tokenizer.id_to_token(found.end_of_text) == "<end>"


def test_existing_tokenizers_neither_cut_nor_pad_nor_add(tmp_path: Path) -> None:
    folder = saved(tmp_path, ["<s>", "</s>"], wrapped=True)
    found = read_tokenizer(FileTokenizer(name="f", path=str(folder)))
    assert ids(found, "hello world hello") == [0, 1, 0]
    assert found.vocabulary == 5


def test_tokenizers_that_cannot_be_used(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        read_tokenizer(FileTokenizer(name="f", path=str(path)))

    with pytest.raises(TokenizerError, match=r"tokenizer.path: .*nope does not exist"):
        read(tmp_path / "nope")
    with pytest.raises(TokenizerError, match=r"/tokenizer.json does not exist; give a"):
        read(tmp_path)
    for content in (b"", b"{}", b"not json", b"\xff"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(TokenizerError, match=r"is no tokenizer.json that can be read"):
            read(tmp_path)
    saved(tmp_path, ["[SEP]", "[CLS]"])
    with pytest.raises(TokenizerError, match=r"no end-of-text token .*are: \[SEP\], \[CLS\]"):
        read(tmp_path)


def test_a_model_needs_a_row_for_every_token() -> None:
    check_vocabulary(50_257, 50_432)
    check_vocabulary(50_257, 50_257)
    with pytest.raises(TokenizerError, match=r"model.vocabulary: 512 is smaller .* 4096 tokens"):
        check_vocabulary(4096, 512)


def test_token_dtype_changes_past_65535() -> None:
    assert [token_dtype(n).name for n in (257, 65_535, 65_536)] == ["uint16", "uint16", "uint32"]
