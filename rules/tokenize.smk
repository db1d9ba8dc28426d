# Text to a tokenizer and token shards; runs that share text and tokenizer share them.
rule tokenize:
    input:
        config=RESULTS / "corpus/{corpus}/config/tokenize.yaml",
        texts=lambda wildcards: TEXTS[wildcards.corpus],
    output:
        RESULTS / "corpus/{corpus}/manifest.json",
    log:
        RESULTS / "corpus/{corpus}/logs/tokenize.log",
    benchmark:
        RESULTS / "corpus/{corpus}/benchmarks/tokenize.tsv"
    conda:
        "../environment.yaml"
    threads: workflow.cores
    resources:
        mem_mb=1000,
        runtime="12h",
    shell:
        "python -m pipeline.tokenize --frozen {input.config} 2>&1 | log_to {log}"
