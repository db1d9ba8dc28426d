# What the stages share: the sweep, where things lie, the environment of the jobs.
import shlex
import sys
from pathlib import Path

from pipeline.config import corpus_id
from pipeline.corpus.sources import source_files
from pipeline.freeze import is_stale, skipped, sweep_content, text
from pipeline.sweep import load_sweep, stages_of
from pipeline.training.memory import parse_memory
from wse.errors import OnewaferError

RESULTS = Path(config.get("results", "results"))
try:
    SWEEP = load_sweep(config.get("sweep", "default"), str(RESULTS))
    if "memory" in config:
        parse_memory(config["memory"])
    TEXTS = {corpus: source_files(run.data) for corpus, run in SWEEP.corpora.items()}
except OnewaferError as error:
    raise WorkflowError(str(error))
REPORT_CONFIG = RESULTS / "sweeps" / f"{SWEEP.name}.yaml"

# Without conda a job runs in the environment that snakemake itself runs in. The name of the
# sweep is no parameter: a run that two sweeps share is one run. Nor is the memory that trainings
# may take. `log_to` shows a job's lines and keeps them; it and the shell outlive Ctrl-C and SIGTERM
# to hear the job's last word.
USES_CONDA = bool(workflow.deployment_settings.deployment_method)
PATH = "$PATH" if USES_CONDA else f"{Path(sys.executable).parent}:$PATH"
MEMORY = shlex.quote(str(config.get("memory", "")))
shell.prefix(
    f'set -euo pipefail; export PATH="{PATH}" ONEWAFER_SWEEP={SWEEP.name} ONEWAFER_MEMORY={MEMORY}; '
    "trap : INT TERM; log_to() {{ (trap '' INT TERM; exec tee \"$1\"); }}; "
)


def any_of(names):
    return "|".join(map(re.escape, names)) or "none"


wildcard_constraints:
    run=any_of(SWEEP.runs),
    corpus=any_of(SWEEP.corpora),
    stage="partition|train|evaluate|fabric",


def frozen_path(run, stage):
    folder = RESULTS / "corpus" / run if stage == "tokenize" else RESULTS / run
    return folder / "config" / f"{stage}.yaml"


def corpus_manifest(run):
    return RESULTS / "corpus" / corpus_id(SWEEP.runs[run]) / "manifest.json"


# What the training of a run leaves at its end: a record run may be skipped, and says which.
def trained(run):
    return RESULTS / run / ("record.json" if run in SWEEP.records else "metrics.json")


# Where each frozen slice lies: path -> (run or corpus, stage).
SLICES = {
    **{
        frozen_path(corpus, "tokenize"): (corpus, "tokenize")
        for corpus in SWEEP.corpora
    },
    **{
        frozen_path(run, stage): (run, stage)
        for run, composed in SWEEP.runs.items()
        for stage in stages_of(composed)
    },
    REPORT_CONFIG: (SWEEP.name, "report"),
}

# A slice on disk that is not what conf/ says now is stale: it goes, and is made again.
for path, (name, stage) in SLICES.items():
    if is_stale(path, sweep_content(SWEEP, name, stage)):
        path.unlink()

# A record run that was skipped is no result: it is tried again.
if workflow.is_main_process:
    for run in SWEEP.records:
        if skipped(trained(run)):
            trained(run).unlink()
