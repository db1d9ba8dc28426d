# The loss over the whole validation split, and samples.
rule evaluate:
    input:
        config=RESULTS / "{run}/config/evaluate.yaml",
        corpus=lambda wildcards: corpus_manifest(wildcards.run),
        metrics=RESULTS / "{run}/metrics.json",
        model=RESULTS / "{run}/model",
    output:
        RESULTS / "{run}/evaluation.json",
    log:
        RESULTS / "{run}/logs/evaluate.log",
    benchmark:
        RESULTS / "{run}/benchmarks/evaluate.tsv"
    conda:
        "../environment.yaml"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        runtime="1d",
    shell:
        "python -m pipeline.evaluate --frozen {input.config} 2>&1 | log_to {log}"
