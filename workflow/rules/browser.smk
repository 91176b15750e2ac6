"""How does a person see it? hub, report -> results/{sample}/browser/."""


rule hub:
    """Write the UCSC track hub and the IGV session."""
    input:
        genome=sample_file("genome"),
        cuts="results/{sample}/atac/cuts.bw",
        replicates="results/{sample}/atac/replicates" if config["replicates"] == "keep" else [],
        bias="results/{sample}/atac/tn5_bias.bw",
        store="results/{sample}/data/encoded",
        tracks=browser_tracks,
        verdicts=expand("results/{{sample}}/boundaries/{run}/verdict.json", run=GATE_RUNS),
    output:
        hub="results/{sample}/browser/hub.txt",
        session="results/{sample}/browser/igv_session.xml",
        regions=multiext("results/{sample}/browser/regions", ".bed", ".bb"),
    log:
        "logs/hub/{sample}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        results=subpath(output.hub, ancestor=2),
        runs=list(GATE_RUNS),
        ucsc_genome=config["browser"]["ucsc_genome"],
        stage_version=STAGE_VERSIONS["hub"],
    shell:
        r"""
        gatescope hub \
            --sample {wildcards.sample:q} \
            --results {params.results:q} \
            --genome {input.genome:q} \
            --runs {params.runs:q} \
            --ucsc-genome {params.ucsc_genome:q} \
            --log {log:q}
        """


rule report:
    """Write the self-contained report."""
    input:
        genome=sample_file("genome"),
        preflight="results/{sample}/data/preflight.json",
        cuts="results/{sample}/atac/cuts.bw",
        replicates="results/{sample}/atac/replicates" if config["replicates"] == "keep" else [],
        bias=multiext("results/{sample}/atac/tn5_bias", ".bw", ".json", ".svg"),
        store="results/{sample}/data/encoded",
        funnel="results/{sample}/data/regions_funnel.svg",
        tracks=browser_tracks,
        tables=report_tables,
        verdict="results/{sample}/boundaries/verdict.json",
    output:
        "results/{sample}/browser/report.html",
    log:
        "logs/report/{sample}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        results=subpath(output[0], ancestor=2),
        runs=list(GATE_RUNS),
        peers=PEER_RUNS,
        settings=json.dumps(config["browser"]),
        stage_version=STAGE_VERSIONS["report"],
    shell:
        r"""
        gatescope report \
            --sample {wildcards.sample:q} \
            --results {params.results:q} \
            --genome {input.genome:q} \
            --runs {params.runs:q} \
            --peers {params.peers:q} \
            --settings {params.settings:q} \
            --log {log:q}
        """
