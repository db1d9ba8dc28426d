# A stage reads its frozen slice and nothing else of conf/, so it is done again when that changes.
rule freeze:
    output:
        RESULTS / "{run}/config/{stage}.yaml",
    log:
        RESULTS / "{run}/logs/freeze_{stage}.log",
    conda:
        "../environment.yaml"
    params:
        slice=lambda wildcards: text(
            sweep_content(SWEEP, wildcards.run, wildcards.stage)
        ),
    shell:
        "printf %s {params.slice:q} > {output} 2> {log}"


rule freeze_corpus:
    output:
        RESULTS / "corpus/{corpus}/config/tokenize.yaml",
    log:
        RESULTS / "corpus/{corpus}/logs/freeze.log",
    conda:
        "../environment.yaml"
    params:
        slice=lambda wildcards: text(sweep_content(SWEEP, wildcards.corpus, "tokenize")),
    shell:
        "printf %s {params.slice:q} > {output} 2> {log}"


rule freeze_report:
    output:
        REPORT_CONFIG,
    log:
        RESULTS / "logs/freeze_report.log",
    conda:
        "../environment.yaml"
    params:
        slice=text(sweep_content(SWEEP, SWEEP.name, "report")),
    shell:
        "printf %s {params.slice:q} > {output} 2> {log}"
