# The chain: tokenize -> partition -> train -> evaluate -> report; beside it experiments on the fabric.
#
#   snakemake --cores all                       the default sweep
#   snakemake --cores all --config sweep=NAME   conf/sweep/NAME.yaml
#   ... --config sweep=NAME memory=8GiB         trainings take no more than that
#   snakemake --dry-run                         what would run, and why
from snakemake.utils import min_version

min_version("9.27")


include: "rules/common.smk"
include: "rules/freeze.smk"
include: "rules/tokenize.smk"
include: "rules/partition.smk"
include: "rules/fabric.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        RESULTS / "report.html",
        SLICES,
        [RESULTS / run / "partition.json" for run in SWEEP.planned],
        [RESULTS / run / "fabric.json" for run in SWEEP.experiments],
        [trained(run) for run in SWEEP.trained],
        [RESULTS / run / "evaluation.json" for run in SWEEP.evaluated],
