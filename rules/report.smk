# One page that says what happened.
rule report:
    input:
        config=REPORT_CONFIG,
        corpora=[
            RESULTS / "corpus" / corpus / "manifest.json" for corpus in SWEEP.corpora
        ],
        plans=[RESULTS / run / "partition.json" for run in SWEEP.planned],
        experiments=[RESULTS / run / "fabric.json" for run in SWEEP.experiments],
        trainings=[trained(run) for run in SWEEP.trained],
        evaluations=[RESULTS / run / "evaluation.json" for run in SWEEP.evaluated],
        # This sweep's own cards come with its trainings.
        cards=[
            card
            for card in sorted((RESULTS / "records").glob("*.json"))
            if card.stem not in SWEEP.records
        ],
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
