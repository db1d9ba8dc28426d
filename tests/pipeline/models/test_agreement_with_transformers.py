"""The decoder computes what transformers computes, with the same weights, in both directions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipeline.choices import Activation, Family
from pipeline.models.decoder import Decoder, allocate
from pipeline.models.families import TRAITS
from pipeline.models.generation import generate
from pipeline.models.huggingface import export, from_directory
from pipeline.models.initialization import initialize
from pipeline.models.shape import hugging_face_config, parameter_count
from pipeline.models.tensor_names import rules
from pipeline.schema import ModelConfig

CONF = Path(__file__).parents[3] / "conf" / "model"
LADDER = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "hf")
SLOWLY = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def configured(name: str) -> ModelConfig:
    """The shape in ``conf/model/``."""
    values = OmegaConf.load(CONF / f"{name}.yaml")
    del values["defaults"]
    model = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ModelConfig), values))
    assert isinstance(model, ModelConfig)
    return model


@st.composite
def shapes(draw: st.DrawFn, family: Family) -> ModelConfig:
    """Any small shape of a family."""
    head_size = 2 * draw(st.integers(4, 8))  # a LayerNorm of less is ill-conditioned
    heads = draw(st.integers(1, 4))
    rotary = 2 * draw(st.integers(1, head_size // 2)) if TRAITS[family].rotary else 0
    return ModelConfig(
        name="any",
        family=family,
        layers=draw(st.integers(1, 3)),
        hidden=heads * head_size,
        heads=heads,
        feed_forward=draw(st.integers(1, 50)),
        vocabulary=draw(st.integers(5, 80)),
        positions=draw(st.integers(2, 24)),
        rotary_dimensions=rotary,
        rotary_base=draw(st.sampled_from([500.0, 1e4])) if family is Family.gptneox else 1e4,
        activation=draw(st.sampled_from(list(Activation))),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-3])),
    )


def in_transformers(model: ModelConfig) -> PreTrainedModel:
    """The same shape in transformers, every parameter drawn anew."""
    values = hugging_face_config(model)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    theirs = AutoModelForCausalLM.from_config(config).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    return theirs


def assert_equal(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Equal to 1e-5 of the largest element."""
    scale = max(theirs.abs().max().item(), 1e-3)
    difference = (ours - theirs).abs().max().item() / scale
    assert difference < 1e-5, f"{what} differs by {difference:.1e}"


def assert_agreement(ours: Decoder, theirs: PreTrainedModel) -> None:
    """Logits, loss and every gradient agree on random tokens."""
    model = ours.config
    generator = torch.Generator().manual_seed(0)
    tokens_bt = torch.randint(model.vocabulary, (2, model.positions), generator=generator)
    output = theirs(tokens_bt, labels=tokens_bt)
    assert_equal(ours(tokens_bt), output.logits, "logits")
    loss = ours.loss(tokens_bt[:, :-1], tokens_bt[:, 1:])
    assert_equal(loss, output.loss, "loss")
    loss.backward()
    output.loss.backward()
    renamed = "embed_out" if model.family is Family.gptneox else "lm_head"
    gradients = {
        name.replace("lm_head", renamed): parameter.grad
        for name, parameter in theirs.named_parameters()
    }
    parameters = dict(ours.named_parameters())
    for rule in rules(model):
        stored = [gradients.pop(name) for name in rule.theirs]
        expected = rule.conversion.load(stored, model.heads)
        assert_equal(parameters.pop(rule.ours).grad, expected, rule.ours)
    assert not gradients
    assert not parameters


@pytest.mark.parametrize("family", Family)
@SLOWLY
@given(data=st.data())
def test_a_model_of_transformers_computes_the_same_here(
    data: st.DataObject, family: Family
) -> None:
    theirs = in_transformers(data.draw(shapes(family)))
    with tempfile.TemporaryDirectory() as directory:
        theirs.save_pretrained(directory)
        _, ours = from_directory(Path(directory))
    assert_agreement(ours, theirs)


@pytest.mark.parametrize("family", Family)
@SLOWLY
@given(data=st.data())
def test_a_model_of_ours_computes_the_same_in_transformers(
    data: st.DataObject, family: Family, random_decoder: Callable[[ModelConfig], Decoder]
) -> None:
    model = data.draw(shapes(family))
    ours = random_decoder(model)
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent) / "model"
        export(ours, model, directory)
        theirs, report = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert_agreement(ours, theirs.train())  # trains without dropout, as here


@pytest.mark.parametrize("name", LADDER)
def test_the_parameters_of_every_configuration_are_counted_as_transformers_does(name: str) -> None:
    model = configured(name)
    assert model.name == name
    with torch.device("meta"):
        theirs = in_transformers(model)
        ours = Decoder(model)
    count = parameter_count(model)
    assert sum(parameter.numel() for parameter in ours.parameters()) == count
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count
    comment = (CONF / f"{name}.yaml").read_text().splitlines()[0]
    assert f"{count:,} parameters" in comment


@pytest.mark.parametrize(
    ("name", "count"), [("gptj_6b", 6_050_882_784), ("gptneox_20b", 20_554_567_680)]
)
def test_the_largest_models_have_their_published_number_of_parameters(
    name: str, count: int
) -> None:
    assert parameter_count(configured(name)) == count


@pytest.mark.parametrize("family", Family)
def test_greedy_generation_is_that_of_transformers(
    family: Family,
    tmp_path: Path,
    small_model: Callable[..., ModelConfig],
    random_decoder: Callable[[ModelConfig], Decoder],
) -> None:
    model = small_model(family)
    ours = random_decoder(model)
    export(ours, model, tmp_path / "model")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    prompt = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    expected = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=11, do_sample=False
    )
    assert torch.equal(generate(ours, prompt, 11, temperature=0, top_k=1), expected)


def test_the_initial_weights_are_distributed_as_those_of_transformers() -> None:
    model = ModelConfig("one", Family.gpt2, 3, 64, 2, 256, 500, 64, initializer_range=0.05)
    ours = allocate(model)
    initialize(ours, seed=1)
    values = hugging_face_config(model)
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    theirs = AutoModelForCausalLM.from_config(config).state_dict()
    for rule in rules(model):
        deviations = [theirs[name].std().item() for name in rule.theirs]
        expected = pytest.approx(deviations[0], rel=0.05)
        assert ours.get_parameter(rule.ours).std().item() == expected, rule.ours
