# The plan of a training step on the wafer, simulated.
rule partition:
    input:
        config=RESULTS / "{run}/config/partition.yaml",
    output:
        RESULTS / "{run}/partition.json",
    log:
        RESULTS / "{run}/logs/partition.log",
    benchmark:
        RESULTS / "{run}/benchmarks/partition.tsv"
    conda:
        "../environment.yaml"
    resources:
        mem_mb=500,
        runtime="10m",
    shell:
        "python -m pipeline.partition --frozen {input.config} 2>&1 | log_to {log}"
