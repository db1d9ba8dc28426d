"""Configuration: everything in conf/ composes, what is wrong is refused by its name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import CONF_DIR, STAGE_VERSIONS, compose, corpus_id, slice_hash, stage_slice
from pipeline.errors import ConfigError
from pipeline.freeze import frozen, job_of, load, text
from pipeline.models.shape import hugging_face_config
from pipeline.sweep import SWEEP_DIR, load_sweep, read_sweep
from wse.errors import OnewaferError

REPOSITORY = Path(__file__).parents[2]
READ_BY_NAME = ("sweep", "cluster")  # no groups of Hydra
GROUPS = sorted(p.name for p in CONF_DIR.iterdir() if p.is_dir() and p.name not in READ_BY_NAME)
CHOICES = [(group, p.stem) for group in GROUPS for p in sorted((CONF_DIR / group).glob("*.yaml"))]
# What a choice needs to be given.
NEEDED = {
    ("data", "text"): ["data.paths=[a]"],
    ("data", "jsonl"): ["data.paths=[a]"],
    ("data", "parquet"): ["data.paths=[a]"],
    ("data", "hf"): ["data.path=a"],
    ("tokenizer", "file"): ["tokenizer.path=a"],
}


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_of_every_group_composes_and_survives_freezing(group, choice, tmp_path):
    needed = NEEDED.get((group, choice), [])
    if (group, choice) == ("model", "hf"):
        shape = hugging_face_config(compose(["model=nano_gptj"]).model)
        (tmp_path / "config.json").write_text(json.dumps(shape))
        needed = [f"model.path={tmp_path}"]
    config = compose([f"{group}={choice}", *needed])
    stages = ["tokenize", "partition", *(["train", "evaluate"] if config.train else [])]
    stages += ["fabric"] if config.fabric else []
    for stage in stages:
        content = frozen(config, stage)
        job = job_of(yaml.safe_load(text(content)), "by_hand")
        assert slice_hash(stage, content["config"]) == job.hash


@pytest.mark.parametrize("name", sorted(p.stem for p in SWEEP_DIR.glob("*.yaml")))
def test_every_sweep_composes(name):
    assert list(load_sweep(name).runs) == list(read_sweep(name))


def test_the_default_sweep_trains_three_models_and_plans_the_ladder():
    sweep = load_sweep("default")
    assert sweep.trained == ["nano_1m", "nano_3m", "nano_10m"]
    assert {"cerebras_gpt_111m", "cerebras_gpt_13b", "gptj_6b", "gptneox_20b"} <= set(sweep.runs)
    assert len(sweep.corpora) == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "train.lerning_rate=1",
            "train.lerning_rate: no such key; did you mean train.learning_rate",
        ),
        ("lerning_rate=1", "lerning_rate: no such key"),
        ("+train.momentum=1", "train.momentum: no such key"),
        ("model.layer=3", "model.layer: no such key; did you mean model.layers"),
        ("train.steps=many", "train.steps=many: value 'many'.*could not be converted to Integer"),
        ("train.precision=fp8", r"train.precision=fp8: .*expected one of \[fp32, bf16\]"),
        ("train=null", "a group cannot be null; .*train=none"),
        ("model=nano_2m", "model/nano_2m: no such choice; model is one of .*nano_3m"),
        ("data=text", "data.paths: has no value and needs one"),
        ("data.paths=[a]", "data.paths: no such key"),
        ("train.steps", "train.steps: not an override; write key=value"),
        ("train.micro_batch=3", "train.micro_batch: 3 does not divide train.global_batch, 4"),
        (
            "train.sequence_length=4096",
            "train.sequence_length: 4096 is more than the 512 positions",
        ),
        ("train.steps=0", "train.steps: 0 is not a positive number"),
        (
            "train.gradient_clip=0",
            "train.gradient_clip: 0.0 is not above 0; null means no clipping",
        ),
        ("model.heads=5", "model.heads: 5 does not divide model.hidden"),
        ("data.validation_fraction=1", "data.validation_fraction: 1.0 is not between 0 and 1"),
        ("run=corpus", "run: 'corpus' cannot name a folder"),
        ("run=../x", "run: '../x' cannot name a folder"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line_by_its_key(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


def test_a_shape_taken_from_a_checkpoint_cannot_be_overridden():
    with pytest.raises(ConfigError, match=r"model.layers: model=hf takes the model as"):
        compose(["model=hf", "model.path=somewhere", "model.layers=2"])


def test_every_stage_reads_its_own_slice_only():
    base, tuned = compose(["run=a"]), compose(["run=b", "train.learning_rate=0.5"])
    changed = {
        stage
        for stage in ("tokenize", "partition", "train", "evaluate")
        if slice_hash(stage, stage_slice(base, stage))
        != slice_hash(stage, stage_slice(tuned, stage))
    }
    assert changed == {"train", "evaluate"}
    assert corpus_id(base) == corpus_id(tuned)


def test_a_new_stage_version_is_a_new_hash(monkeypatch):
    config = compose(["run=a"])
    before = slice_hash("train", stage_slice(config, "train"))
    monkeypatch.setitem(STAGE_VERSIONS, "train", 99)
    assert slice_hash("train", stage_slice(config, "train")) != before


def test_runs_without_a_name_are_told_apart():
    assert compose(["model=nano_3m"]).run == "nano_3m"
    named = compose(["model=nano_3m", "train.learning_rate=0.5"]).run
    assert named is not None
    assert named.startswith("nano_3m-")
    assert compose(["model=nano_3m", "train.learning_rate=0.25"]).run != named
    assert compose(["model=nano_3m", "evaluate.seed=7"]).run == "nano_3m"
    assert compose(["model=nano_3m", "train=none"]).run == "nano_3m"
    assert compose(["model=nano_3m", "train=none", "wafer=wse3"]).run != "nano_3m"


def test_a_frozen_slice_that_was_edited_is_refused(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text(text(frozen(compose(["run=a"]), "train")))
    assert load(path, "train", "s").config.train.steps == compose(["run=a"]).train.steps
    path.write_text(path.read_text().replace("weight_decay: 0.1", "weight_decay: 0.2"))
    with pytest.raises(ConfigError, match="was changed after it was written"):
        load(path, "train", "s")
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "other.yaml", "train", "s")
    with pytest.raises(ConfigError, match="not a frozen configuration of stage evaluate"):
        load(path, "evaluate", "s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [model=nano_2m]", "bad.yaml: run a: model/nano_2m: no such choice"),
        ("a: model=nano_1m", "bad.yaml: run a: .* is not a list of overrides"),
        ("a/b: [model=nano_1m]", "bad.yaml: run a/b: run: 'a/b' cannot name"),
        ("[1, 2]", "bad.yaml: a sweep maps run names"),
        ("a: [", "bad.yaml: while parsing"),
    ],
)
def test_a_bad_sweep_is_refused_by_file_and_run(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr("pipeline.sweep.SWEEP_DIR", tmp_path)
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(OnewaferError, match=message):
        load_sweep("bad")


def test_an_unknown_sweep_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"sweep=nope: no such sweep; conf/sweep/ has default"):
        load_sweep("nope")


def test_an_experiment_on_the_fabric_trains_nothing_and_is_named_after_its_program():
    config = compose(["fabric=experiment", "fabric.program=mesh_gemm"])
    assert config.train is None
    assert re.fullmatch("mesh_gemm-[0-9a-f]{8}", str(config.run))
    wider = compose(["fabric=experiment", "fabric.program=mesh_gemm", "fabric.width=32"])
    assert wider.run != config.run


def test_the_key_of_a_group_that_is_none_is_refused_in_one_line():
    with pytest.raises(ConfigError, match="a key of train or fabric is given, and that group is"):
        compose(["fabric.width=3"])
    with pytest.raises(ConfigError, match="no experiment is chosen; choose one with fabric="):
        stage_slice(compose([]), "fabric")


@pytest.mark.parametrize(
    "stage", ["tokenize", "partition", "train", "evaluate", "fabric", "report"]
)
def test_a_typo_on_the_command_line_is_one_line_and_not_a_traceback(stage, tmp_path):
    command = [sys.executable, "-m", f"pipeline.{stage}", "train.lerning_rate=1"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"onewafer {stage}: train.lerning_rate: no such key; did you mean train.learning_rate?"
    ]


def test_the_snakefile_needs_nothing_heavy():
    code = (
        "import sys, pipeline.config, pipeline.sweep, pipeline.freeze, pipeline.corpus.sources; "
        "heavy = ('torch', 'mlflow', 'transformers', 'tokenizers', 'datasets', 'snakemake'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
