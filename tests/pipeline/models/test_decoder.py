"""What a trainer relies on in the decoder, whatever the family."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline.choices import Family
from pipeline.errors import ModelError
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.generation import generate
from pipeline.models.initialization import initialize, initialize_part
from pipeline.schema import ModelConfig

MakeModel = Callable[..., ModelConfig]
MakeDecoder = Callable[..., Decoder]
PROPERTY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
each_family = pytest.mark.parametrize("family", Family)


def tokens_of(model: ModelConfig, count: int = 11) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(model.vocabulary, (2, count), generator=generator)


def gradients_of(decoder: Decoder, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(decoder.parameters())))


@each_family
@PROPERTY
@given(position=st.integers(0, 10), change=st.integers(1, 60))
def test_a_later_token_changes_no_earlier_logit(
    family: Family,
    position: int,
    change: int,
    small_model: MakeModel,
    random_decoder: MakeDecoder,
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = tokens_of(decoder.config)
    changed_bt = tokens_bt.clone()
    changed_bt[:, position] = (changed_bt[:, position] + change) % decoder.config.vocabulary
    before_btv, after_btv = decoder(tokens_bt), decoder(changed_bt)
    assert torch.equal(before_btv[:, :position], after_btv[:, :position])
    assert not torch.allclose(before_btv[:, position:], after_btv[:, position:])


@each_family
@PROPERTY
@given(chunk_tokens=st.integers(1, 30))
def test_the_loss_does_not_depend_on_the_chunks(
    family: Family, chunk_tokens: int, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = tokens_of(decoder.config)
    inputs_bt, targets_bt = tokens_bt[:, :-1], tokens_bt[:, 1:]
    plain = F.cross_entropy(decoder(inputs_bt).flatten(0, 1), targets_bt.flatten())
    chunked = decoder.loss(inputs_bt, targets_bt, chunk_tokens)
    torch.testing.assert_close(chunked, plain)
    with torch.no_grad():
        torch.testing.assert_close(decoder.loss(inputs_bt, targets_bt, chunk_tokens), plain)
    expected = gradients_of(decoder, 3 * plain)
    torch.testing.assert_close(gradients_of(decoder, 3 * chunked), expected)


class LargestTensor(TorchDispatchMode):
    """Notes the elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max(self.elements, *sizes, 0)
        return result


@each_family
def test_the_logits_of_a_step_never_exist_at_once(family: Family, small_model: MakeModel) -> None:
    model = small_model(family, vocabulary=2000, positions=64, hidden=12)
    decoder = allocate(model)
    initialize(decoder, seed=0)
    tokens_bt = tokens_of(model, 64)
    with LargestTensor() as largest:
        decoder.loss(tokens_bt, tokens_bt, chunk_tokens=8).backward()
    assert largest.elements == model.vocabulary * model.hidden  # the projection's matrix


@each_family
def test_parts_make_up_the_whole(
    family: Family, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = tokens_of(decoder.config)
    x_btd = decoder.embedding(tokens_bt)
    for layer in decoder.layers:
        x_btd = layer(x_btd)
    assert torch.equal(decoder.head(x_btd, decoder.tied_weight_vd), decoder(tokens_bt))
    parts = [decoder.embedding, *decoder.layers, decoder.head]
    owned = [id(parameter) for part in parts for parameter in part.parameters()]
    assert len(owned) == len(set(owned)) == len(list(decoder.parameters()))


@each_family
def test_mixed_precision_keeps_residuals_and_loss_in_fp32(
    family: Family, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = tokens_of(decoder.config)
    exact = decoder.loss(tokens_bt, tokens_bt)
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder.hidden_states(tokens_bt).dtype is torch.float32
        assert decoder(tokens_bt).dtype is torch.bfloat16
        loss = decoder.loss(tokens_bt, tokens_bt, chunk_tokens=4)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0)
    for gradient, expected in zip(
        gradients_of(decoder, loss), gradients_of(decoder, exact), strict=True
    ):
        assert gradient.dtype is torch.float32
        assert F.cosine_similarity(gradient.flatten(), expected.flatten(), dim=0) > 0.9


@each_family
def test_bf16_matrices_give_an_fp32_residual_stream_and_loss(
    family: Family, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = tokens_of(decoder.config)
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert decoder.hidden_states(tokens_bt).dtype is torch.float32
        loss = decoder.loss(tokens_bt, tokens_bt)
    expected = F.cross_entropy(decoder.float()(tokens_bt).flatten(0, 1), tokens_bt.flatten())
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=0)
    loss.backward()


@each_family
def test_a_decoder_of_any_size_has_shapes_on_the_meta_device(
    family: Family, small_model: MakeModel
) -> None:
    with torch.device("meta"):
        decoder = Decoder(small_model(family, hidden=6144, heads=64, feed_forward=24576))
        tokens_bt = torch.zeros(2, 16, dtype=torch.long)
    assert decoder(tokens_bt).shape == (2, 16, 61)
    decoder.loss(tokens_bt, tokens_bt).backward()


@each_family
def test_training_follows_evaluation_in_inference_mode(
    family: Family, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family, rotary_base=123.0))
    tokens_bt = tokens_of(decoder.config)
    with torch.inference_mode():
        evaluated = decoder.loss(tokens_bt, tokens_bt)
    trained = decoder.loss(tokens_bt, tokens_bt)
    trained.backward()
    torch.testing.assert_close(trained, evaluated)


def test_a_sequence_past_the_positions_is_refused(
    small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(Family.gptj))
    with pytest.raises(ModelError, match="17 tokens in a sequence; the model has 16 positions"):
        decoder(tokens_of(decoder.config, 17))


@each_family
def test_initial_weights_follow_from_the_seed(family: Family, small_model: MakeModel) -> None:
    first, again, other = (allocate(small_model(family)) for _ in range(3))
    for decoder, seed in ((first, 1), (again, 1), (other, 2)):
        initialize(decoder, seed)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        assert parameter.ndim == 1 or not torch.equal(parameter, other.get_parameter(name))
    layers = [layer.attention.qkv.weight for layer in first.layers]
    assert not torch.equal(*layers)


@each_family
def test_a_layer_is_initialised_without_the_others(family: Family, small_model: MakeModel) -> None:
    model = small_model(family)
    whole, alone = allocate(model), allocate(model)
    initialize(whole, seed=3)
    initialize_part(alone.layers[1], "layers.1.", model, seed=3)
    for name, parameter in alone.layers[1].named_parameters():
        assert torch.equal(parameter, whole.layers[1].get_parameter(name))


def test_initial_weights_do_not_depend_on_the_type(small_model: MakeModel) -> None:
    model = small_model(Family.gpt2)
    single, half = allocate(model), allocate(model).bfloat16()
    initialize(single, seed=0)
    initialize(half, seed=0)
    for name, parameter in single.named_parameters():
        assert torch.equal(parameter.bfloat16(), half.get_parameter(name))


@each_family
def test_generation_goes_on_past_the_positions(
    family: Family, small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(family))
    tokens_bt = generate(decoder, tokens_of(decoder.config), 20, temperature=0, top_k=1)
    assert tokens_bt.shape == (2, 31)
    for end in (12, 17, 31):
        window_bt = tokens_bt[:, max(0, end - 1 - decoder.config.positions) : end - 1]
        assert torch.equal(decoder(window_bt)[:, -1].argmax(-1), tokens_bt[:, end - 1])


def test_sampling_keeps_to_the_likeliest_and_to_its_generator(
    small_model: MakeModel, random_decoder: MakeDecoder
) -> None:
    decoder = random_decoder(small_model(Family.gpt2))
    prompt_bt = tokens_of(decoder.config).repeat(50, 1)
    likeliest = decoder(prompt_bt)[:, -1].topk(3).indices

    def sampled(temperature: float, top_k: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return generate(decoder, prompt_bt, 1, temperature, top_k, generator)[:, -1:]

    drawn = sampled(2.0, 3)
    assert (drawn == likeliest).any(dim=1).all()
    assert (drawn != likeliest[:, :1]).any()
    assert torch.equal(drawn, sampled(2.0, 3))
    assert torch.equal(sampled(2.0, 1), likeliest[:, :1])
    assert torch.equal(sampled(1e-4, 10**6), likeliest[:, :1])
