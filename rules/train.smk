# A model learns the tokens. Its checkpoints, or its parameter store, are not declared, since
# Snakemake deletes a job's outputs when it fails: a killed or failed job goes on from them.
rule train:
    input:
        config=RESULTS / "{run}/config/train.yaml",
        corpus=lambda wildcards: corpus_manifest(wildcards.run),
        plan=ancient(RESULTS / "{run}/partition.json"),
    output:
        metrics=RESULTS / "{run}/metrics.json",
        history=RESULTS / "{run}/history.jsonl",
        model=directory(RESULTS / "{run}/model"),
    log:
        RESULTS / "{run}/logs/train.log",
    benchmark:
        RESULTS / "{run}/benchmarks/train.tsv"
    wildcard_constraints:
        run=any_of(SWEEP.evaluated),
    conda:
        "../environment.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime="7d",
    shell:
        "python -m pipeline.train --frozen {input.config} 2>&1 | log_to {log}"


# One that keeps no model.
use rule train as train_only with:
    output:
        metrics=RESULTS / "{run}/metrics.json",
        history=RESULTS / "{run}/history.jsonl",
    wildcard_constraints:
        run=any_of(
            sorted(set(SWEEP.trained) - set(SWEEP.evaluated) - set(SWEEP.records))
        ),


# A rung of the record ladder, the smallest first: all of them wait for all plans, so that they are
# ready together and go by priority. What the machine cannot hold is skipped, which is no failure.
use rule train as record with:
    input:
        config=RESULTS / "{run}/config/train.yaml",
        corpus=lambda wildcards: corpus_manifest(wildcards.run),
        plan=ancient([RESULTS / run / "partition.json" for run in SWEEP.records]),
    output:
        record=RESULTS / "{run}/record.json",
    wildcard_constraints:
        run=any_of(SWEEP.records),
    priority: lambda wildcards: -SWEEP.records.index(wildcards.run) - 1
