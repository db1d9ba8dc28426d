"""How text becomes tokens: a byte-level BPE trained on the corpus, or an existing tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.errors import CorpusError, TokenizerError
from pipeline.schema import BpeTokenizer, FileTokenizer

END_OF_TEXT = "<|endoftext|>"
SMALLEST_BPE = 257
"""The 256 bytes, so that any text can be written, and the end-of-text token."""


@dataclass(frozen=True)
class CorpusTokenizer:
    """A tokenizer ready to encode a corpus, and its ``tokenizer.json``.

    ``vocabulary`` is one more than the largest id, ``end_of_text`` the id behind each document.
    """

    tokenizer: Tokenizer
    definition: bytes
    end_of_text: int

    @property
    def vocabulary(self) -> int:
        """Rows that a model's embedding needs."""
        return max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def train_bpe(config: BpeTokenizer, texts: Sequence[str]) -> CorpusTokenizer:
    """Train a byte-level BPE on ``texts``; end-of-text gets id 0, then come the bytes.

    A small corpus may give fewer tokens than asked for. Raises :class:`TokenizerError` for a
    vocabulary that cannot hold every byte, :class:`CorpusError` if there is no text.
    """
    if config.vocabulary < SMALLEST_BPE:
        raise TokenizerError(
            f"tokenizer.vocabulary: {config.vocabulary} is too small; the 256 bytes and the "
            f"end-of-text token need {SMALLEST_BPE}"
        )
    if not texts:
        raise CorpusError("data: there is no text to train a tokenizer on; add text")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.minimum_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    definition = tokenizer.to_str(pretty=True).encode()
    # A trainer numbers its special tokens first.
    return CorpusTokenizer(_for_encoding(tokenizer), definition, end_of_text=0)


def read_tokenizer(config: FileTokenizer) -> CorpusTokenizer:
    """Read the ``tokenizer.json`` that ``config.path`` is or holds.

    Raises :class:`TokenizerError` if there is none, if it cannot be read, or has no token for
    the end of a text.
    """
    given = Path(config.path).expanduser()
    path = given / "tokenizer.json" if given.is_dir() else given
    if not path.exists():
        raise TokenizerError(
            f"tokenizer.path: {path} does not exist; give a tokenizer.json or a directory with one"
        )
    try:
        definition = path.read_bytes()
        tokenizer = Tokenizer.from_str(definition.decode())
    # The library raises plain exceptions.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise TokenizerError(
            f"tokenizer.path: {path} is no tokenizer.json that can be read: {reason}"
        ) from error
    return CorpusTokenizer(_for_encoding(tokenizer), definition, _end_of_text(tokenizer, path))


def _for_encoding(tokenizer: Tokenizer) -> Tokenizer:
    """Make ``tokenizer`` encode text whole, and as text even where it spells a special token."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _end_of_text(tokenizer: Tokenizer, path: Path) -> int:
    """The id of the end-of-text token: as configured beside ``path``, else by its usual names."""
    special = {
        token.content: id
        for id, token in tokenizer.get_added_tokens_decoder().items()
        if token.special
    }
    for name in (_configured_end(path), END_OF_TEXT, "</s>"):
        id = tokenizer.token_to_id(name) if name else None
        if id is not None:
            return id
    usual = [name for name in special if re.search(r"eos|end_?of_?text", name, re.IGNORECASE)]
    if len(usual) == 1:
        return special[usual[0]]
    raise TokenizerError(
        f"tokenizer.path: {path} has no end-of-text token such as {END_OF_TEXT} or </s>; its "
        f"special tokens are: {', '.join(special) or 'none'}"
    )


def _configured_end(path: Path) -> str | None:
    """``eos_token`` of the ``tokenizer_config.json`` beside ``path``, if it is there."""
    try:
        config = json.loads((path.parent / "tokenizer_config.json").read_text())
        token = config.get("eos_token")
    except (OSError, ValueError, AttributeError):
        return None
    return token.get("content") if isinstance(token, dict) else token
