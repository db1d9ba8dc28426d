"""Model directories: what is read and written, and what a damaged one says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pipeline.choices import Family
from pipeline.errors import ModelError, TokenizerError
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.huggingface import export, from_directory, load_weights
from pipeline.models.safetensors_file import SafetensorsWriter
from pipeline.models.tensor_names import rules
from pipeline.schema import ModelConfig

each_family = pytest.mark.parametrize("family", Family)
WEIGHTS = "model.safetensors"


@pytest.fixture
def exported(
    tmp_path: Path,
    small_model: Callable[..., ModelConfig],
    random_decoder: Callable[..., Decoder],
) -> Callable[..., tuple[Path, Decoder]]:
    """A model of a family, and the directory that it was written to."""

    def make(family: Family, **options: object) -> tuple[Path, Decoder]:
        model = small_model(family)
        decoder = random_decoder(model)
        export(decoder, model, tmp_path / "model", **options)  # type: ignore[arg-type]
        return tmp_path / "model", decoder

    return make


@pytest.fixture
def tokenizer_path(tmp_path: Path) -> Path:
    """A byte-level BPE that splits otherwise than GPT-2's: each digit by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the year 2022, the chip, the 2022 wafers"] * 9, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def assert_same(ours: Decoder, expected: Decoder) -> None:
    for name, parameter in expected.named_parameters():
        assert torch.equal(ours.get_parameter(name), parameter), name


@each_family
def test_every_parameter_has_one_rule(
    family: Family, small_model: Callable[..., ModelConfig]
) -> None:
    model = small_model(family)
    names = [name for name, _ in allocate(model).named_parameters()]
    assert sorted(rule.ours for rule in rules(model)) == sorted(names)


@each_family
@pytest.mark.parametrize("shard_bytes", [1, 10_000, 10**9])
def test_weights_come_back_from_any_number_of_files(
    family: Family, shard_bytes: int, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, decoder = exported(family, shard_bytes=shard_bytes)
    files = sorted(directory.glob("*.safetensors"))
    assert (len(files) > 1) == (shard_bytes < 10**9)
    assert (directory / "model.safetensors.index.json").exists() == (len(files) > 1)
    sizes = [sum(tensor.nbytes for tensor in load_file(file).values()) for file in files]
    largest = max(parameter.nbytes for parameter in decoder.parameters())
    assert max(sizes) <= max(shard_bytes, largest)
    assert_same(from_directory(directory)[1], decoder)
    theirs, report = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens_bt = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(theirs(tokens_bt).logits, decoder(tokens_bt))


@each_family
def test_the_shards_of_transformers_are_read(
    family: Family, tmp_path: Path, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, decoder = exported(family)
    theirs = AutoModelForCausalLM.from_pretrained(directory)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    assert_same(from_directory(tmp_path / "theirs")[1], decoder)


@each_family
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_is_read_as_fp32(
    family: Family, dtype: torch.dtype, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, decoder = exported(family)
    tensors = load_file(directory / WEIGHTS)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, directory / WEIGHTS)
    assert_same(from_directory(directory)[1], decoder.to(dtype).float())


def test_gpt2_files_without_a_prefix_and_with_buffers_are_read(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, decoder = exported(Family.gpt2)
    tensors = load_file(directory / WEIGHTS)
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    for layer in range(2):
        bare[f"h.{layer}.attn.bias"] = torch.ones(1, 1, 16, 16, dtype=torch.bool)
        bare[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    bare["lm_head.weight"] = bare["wte.weight"].clone()
    save_file(bare, directory / WEIGHTS)
    assert_same(from_directory(directory)[1], decoder)


def test_gpt_neox_files_with_buffers_and_either_name_of_the_head_are_read(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, decoder = exported(Family.gptneox)
    tensors = load_file(directory / WEIGHTS)
    tensors["lm_head.weight"] = tensors.pop("embed_out.weight")
    for layer in range(2):
        tensors[f"gpt_neox.layers.{layer}.attention.rotary_emb.inv_freq"] = torch.ones(2)
        tensors[f"gpt_neox.layers.{layer}.attention.bias"] = torch.ones(1, 1, 4, 4).bool()
        tensors[f"gpt_neox.layers.{layer}.attention.masked_bias"] = torch.tensor(-1e9)
    save_file(tensors, directory / WEIGHTS)
    assert_same(from_directory(directory)[1], decoder)


@each_family
def test_the_tokenizer_opens_and_splits_as_before(
    family: Family, tokenizer_path: Path, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, _ = exported(family, tokenizer_path=tokenizer_path)
    original = Tokenizer.from_file(str(tokenizer_path))
    opened = AutoTokenizer.from_pretrained(directory)
    for text in ("the year 2022", " wafers\n\n  naïve 🙂", "a<|endoftext|>the 99"):
        assert opened(text)["input_ids"] == original.encode(text).ids
        assert opened.decode(opened(text)["input_ids"]) == text
    end = original.token_to_id("<|endoftext|>")
    assert opened.eos_token == "<|endoftext|>"
    assert opened.eos_token_id == end
    assert opened.model_max_length == 16
    config = AutoConfig.from_pretrained(directory)
    assert (config.eos_token_id, config.bos_token_id) == (end, end)


def test_without_a_tokenizer_no_special_tokens_are_claimed(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, _ = exported(Family.gptneox)
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", WEIGHTS]
    config = AutoConfig.from_pretrained(directory)
    assert config.eos_token_id is None
    assert config.bos_token_id is None


def test_a_tokenizer_that_cannot_be_read_leaves_no_model(
    tmp_path: Path, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    (tmp_path / "bad.json").write_text("{}")
    for name in ("bad.json", "none.json"):
        with pytest.raises(TokenizerError, match=f"{name}: cannot be read as a tokenizer"):
            exported(Family.gpt2, tokenizer_path=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_export_leaves_the_earlier_model(
    error: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, decoder = exported(Family.gpt2)

    def fail(writer: SafetensorsWriter) -> None:
        raise error

    monkeypatch.setattr(SafetensorsWriter, "flush", fail)
    with pytest.raises(type(error)):
        exported(Family.gpt2)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert_same(from_directory(directory)[1], decoder)


def test_an_export_replaces_the_earlier_model_and_what_a_killed_one_left(
    tmp_path: Path,
    exported: Callable[..., tuple[Path, Decoder]],
    random_decoder: Callable[..., Decoder],
) -> None:
    directory, decoder = exported(Family.gpt2)
    (directory / "stale").touch()
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "half").touch()
    other = random_decoder(decoder.config, seed=1)
    export(other, decoder.config, directory)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (directory / "stale").exists()
    assert_same(from_directory(directory)[1], other)


def test_a_model_that_was_moved_aside_comes_back(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, decoder = exported(Family.gpt2)
    directory.rename(tmp_path / ".model.replaced")  # killed between the two renames
    with monkeypatch.context() as patched:
        patched.setattr(SafetensorsWriter, "flush", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            exported(Family.gpt2)
    assert_same(from_directory(directory)[1], decoder)


def rewrite(directory: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Change tensors of the file; None removes one."""
    tensors = load_file(directory / WEIGHTS)
    for name, tensor in changes.items():
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, directory / WEIGHTS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"transformer.ln_f.bias": None, "transformer.wte.weight": None},
            ("tensor transformer.wte.weight (and 1 more) is missing",),
        ),
        ({"transformer.extra": torch.ones(2)}, ("model.safetensors: tensor transformer.extra is",)),
        (
            {"transformer.h.1.mlp.c_fc.weight": torch.ones(40, 24)},
            ("transformer.h.1.mlp.c_fc.weight has shape (40, 24)", "asks for (24, 40)"),
        ),
        (
            {"transformer.ln_f.bias": torch.ones(24, dtype=torch.int64)},
            ("transformer.ln_f.bias is of type I64; supported are F64, F32, F16, BF16",),
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_change_nothing(
    changes: dict[str, torch.Tensor | None],
    words: tuple[str, ...],
    exported: Callable[..., tuple[Path, Decoder]],
    random_decoder: Callable[..., Decoder],
) -> None:
    directory, decoder = exported(Family.gpt2)
    rewrite(directory, changes)
    other, untouched = (random_decoder(decoder.config, seed=9) for _ in range(2))
    with pytest.raises(ModelError) as refused:
        load_weights(other, directory)
    assert all(word in str(refused.value) for word in (str(directory), *words)), refused.value
    assert_same(other, untouched)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_named(
    kept: int, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, _ = exported(Family.gptj)
    content = (directory / WEIGHTS).read_bytes()
    (directory / WEIGHTS).write_bytes(content[:kept])
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read as safetensors"):
        from_directory(directory)


def test_a_damaged_header_is_named(exported: Callable[..., tuple[Path, Decoder]]) -> None:
    directory, _ = exported(Family.gptj)
    content = bytearray((directory / WEIGHTS).read_bytes())
    content[8:40] = b"\xff" * 32
    (directory / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read as safetensors"):
        from_directory(directory)


def test_a_missing_shard_is_named(exported: Callable[..., tuple[Path, Decoder]]) -> None:
    directory, _ = exported(Family.gptneox, shard_bytes=3000)
    shard = sorted(directory.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelError, match=f"{shard.name}: cannot be read as safetensors"):
        from_directory(directory)


@pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_named(
    content: str, exported: Callable[..., tuple[Path, Decoder]]
) -> None:
    directory, _ = exported(Family.gptneox, shard_bytes=3000)
    (directory / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match=r"index\.json: cannot be read as an index"):
        from_directory(directory)


def test_a_directory_without_weights_is_named(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, _ = exported(Family.gpt2)
    (directory / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor model\.safetensors\.in"):
        from_directory(directory)


def test_weights_of_another_size_are_refused(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, _ = exported(Family.gpt2)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "n_layer": 3}))
    with pytest.raises(
        ModelError, match=r"tensor transformer\.h\.2\..* \(and 11 more\) is missing"
    ):
        from_directory(directory)


def test_whoever_may_read_the_configuration_may_read_the_weights(
    exported: Callable[..., tuple[Path, Decoder]],
) -> None:
    directory, _ = exported(Family.gpt2)
    modes = {path.stat().st_mode for path in directory.iterdir()}
    assert len(modes) == 1
