# An experiment on the fabric, simulated cycle by cycle.
rule fabric:
    input:
        config=RESULTS / "{run}/config/fabric.yaml",
    output:
        RESULTS / "{run}/fabric.json",
    log:
        RESULTS / "{run}/logs/fabric.log",
    benchmark:
        RESULTS / "{run}/benchmarks/fabric.tsv"
    conda:
        "../environment.yaml"
    resources:
        mem_mb=2000,
        runtime="30m",
    shell:
        "python -m pipeline.fabric --frozen {input.config} 2>&1 | log_to {log}"
