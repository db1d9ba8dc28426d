# One page that says what happened.
rule report:
    input:
        config=REPORT_CONFIG,
        corpora=[
            RESULTS / "corpus" / corpus / "manifest.json" for corpus in SWEEP.corpora
        ],
        plans=[RESULTS / run / "partition.json" for run in SWEEP.runs],
        evaluations=[RESULTS / run / "evaluation.json" for run in SWEEP.trained],
    output:
        page=report(RESULTS / "report.html", category="Report"),
        figures=directory(RESULTS / "figures"),
    log:
        RESULTS / "logs/report.log",
    benchmark:
        RESULTS / "logs/report.tsv"
    conda:
        "../environment.yaml"
    resources:
        mem_mb=1000,
        runtime="10m",
    shell:
        "python -m pipeline.report --frozen {input.config} 2>&1 | log_to {log}"
