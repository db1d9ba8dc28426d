"""Models larger than memory: directories written from a stream of parts, and read part by part."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from pipeline.choices import Family
from pipeline.models.decoder import Decoder
from pipeline.models.huggingface import (
    Checkpoint,
    export,
    export_parts,
    from_directory,
    read_part,
    read_parts,
)
from pipeline.schema import ModelConfig
from pipeline.streaming.layout import part_names

MakeModel = Callable[..., ModelConfig]
MakeDecoder = Callable[..., Decoder]
Parts = list[tuple[str, dict[str, Tensor]]]
each_family = pytest.mark.parametrize("family", Family)


def parts_of(decoder: Decoder, matrices: torch.dtype) -> Parts:
    """The decoder's parameters by part: matrices of a type, vectors in fp32."""
    return [
        (
            part,
            {
                name: parameter.detach().to(matrices if parameter.ndim > 1 else torch.float32)
                for name, parameter in decoder.get_submodule(part).named_parameters(prefix=part)
            },
        )
        for part in part_names(decoder.config)
    ]


def values_of(decoder: Decoder) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in decoder.named_parameters()}


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@each_family
@pytest.mark.parametrize("shard_bytes", [3000, 10**9])
def test_bf16_matrices_and_fp32_vectors_come_back_as_they_were(
    family: Family,
    shard_bytes: int,
    tmp_path: Path,
    small_model: MakeModel,
    random_decoder: MakeDecoder,
) -> None:
    parts = parts_of(random_decoder(small_model(family)), torch.bfloat16)
    export_parts(iter(parts), small_model(family), tmp_path / "model", shard_bytes=shard_bytes)
    found = list(read_parts(small_model(family), tmp_path / "model"))
    assert [part for part, _ in found] == part_names(small_model(family))
    for (_, theirs), (_, ours) in zip(found, parts, strict=True):
        assert_equal(theirs, ours)
        assert all(theirs[name].dtype is tensor.dtype for name, tensor in ours.items())
    decoder = from_directory(tmp_path / "model")[1]
    given = {name: tensor.float() for _, tensors in parts for name, tensor in tensors.items()}
    assert_equal(values_of(decoder), given)

    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert {parameter.dtype for parameter in opened.parameters()} == {torch.bfloat16}
    exact = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    tokens_bt = torch.tensor([[1, 2, 3, 60]])
    torch.testing.assert_close(exact(tokens_bt).logits, decoder(tokens_bt))


@each_family
def test_a_part_of_the_shards_of_transformers_is_read_by_itself(
    family: Family, tmp_path: Path, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    export(decoder, decoder.config, tmp_path / "ours")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 3
    for part, tensors in parts_of(decoder, torch.float32):
        assert_equal(read_part(decoder.config, tmp_path / "theirs", part), tensors)


@each_family
def test_reading_a_part_touches_no_other(
    family: Family, tmp_path: Path, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    export(decoder, decoder.config, tmp_path / "model", shard_bytes=1)
    checkpoint = Checkpoint(decoder.config, tmp_path / "model")
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    for file in {file for name, file in index["weight_map"].items() if ".1." not in name}:
        (tmp_path / "model" / file).unlink()
    assert_equal(checkpoint.read("layers.1"), dict(parts_of(decoder, torch.float32))["layers.1"])
    with pytest.raises(OSError, match=r"model-.*\.safetensors"):
        checkpoint.read("layers.0")


@each_family
def test_parts_may_come_in_any_order(
    family: Family, tmp_path: Path, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family, layers=5))
    parts = parts_of(decoder, torch.float32)
    rest = parts[1:]
    random.Random(1).shuffle(rest)
    for name, order in (("forward", parts), ("shuffled", [parts[0], *rest])):
        export_parts(iter(order), decoder.config, tmp_path / name, shard_bytes=20_000)
    forward, shuffled = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("forward", "shuffled")
    )
    assert forward == shuffled
    assert_equal(values_of(from_directory(tmp_path / "shuffled")[1]), values_of(decoder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda parts: parts[:-1], r"small: head\.norm\.bias was in no part"),
        (lambda parts: [*parts, parts[1]], r"layers\.0\..* is written twice"),
        (lambda parts: [], "small: there is no part to write"),
        (lambda parts: parts[::-1], "head: matrices of one type should come first"),
        (
            lambda parts: [parts[0], ("layers.0", {"layers.0.x": torch.ones(2)})],
            r"layers\.0\.x is no parameter of small",
        ),
        (
            lambda parts: [parts[0], *((p, {n: t.half() for n, t in w.items()}) for p, w in parts)],
            r"embedding\.tokens\.weight is written twice",
        ),
        (
            lambda parts: [
                parts[0],
                *((p, {n: t.half() for n, t in w.items()}) for p, w in parts[1:]),
            ],
            r"is torch\.float16 of shape .*, announced as torch\.float32",
        ),
    ],
)
def test_a_stream_of_other_parts_is_refused_and_leaves_nothing(
    change: Callable[[Parts], Parts],
    words: str,
    tmp_path: Path,
    small_model: MakeModel,
    random_decoder: MakeDecoder,
) -> None:
    model = small_model(Family.gpt2)
    parts = change(parts_of(random_decoder(model), torch.float32))
    with pytest.raises(ValueError, match=words):
        export_parts(iter(parts), model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_neither_way_holds_more_than_a_part(tmp_path: Path) -> None:
    script = Path(__file__).with_name("peak_of_parts.py")
    # What is held counts here, not what glibc keeps for later of tensors below 32 MB.
    allocator = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        cwd=Path(__file__).parents[3],
        env={**os.environ, **allocator, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = json.loads(done.stdout)
    slack = 25_000_000
    assert peaks["model"] > 500_000_000
    assert peaks["exporting"] < peaks["part"] + peaks["tensor"] + slack
    assert peaks["reading"] < peaks["part"] + peaks["tensor"] + slack
