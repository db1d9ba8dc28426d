# A model learns the tokens. Its checkpoints are not declared, since Snakemake deletes a job's
# outputs when it fails: a killed or failed job goes on from them at the next call.
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
    conda:
        "../environment.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime="7d",
    shell:
        "python -m pipeline.train --frozen {input.config} 2>&1 | log_to {log}"
