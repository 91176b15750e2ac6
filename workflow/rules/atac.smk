"""Where did Tn5 cut? cuts -> results/{sample}/atac/."""


rule cuts:
    """Count Tn5 cuts per base at the centre of the duplication."""
    input:
        preflight="results/{sample}/data/preflight.json",
        atac=sample_file("atac"),
        genome=sample_file("genome"),
    output:
        track="results/{sample}/atac/cuts.bw",
        sidecar="results/{sample}/atac/cuts.bw.json",
        shift=multiext("results/{sample}/atac/tn5_shift", ".json", ".svg"),
    log:
        "logs/cuts/{sample}.log",
    benchmark:
        "benchmarks/cuts/{sample}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tn5_shift=tn5_shift,
        duplicates=config["duplicates"],
        min_mapq=config["min_mapq"],
        improper_pairs=config["improper_pairs"],
        exclude_contigs=config["exclude_contigs"],
        stage_version=STAGE_VERSIONS["cuts"],
    shell:
        r"""
        gatescope cuts \
            --atac {input.atac:q} \
            --genome {input.genome:q} \
            --tn5-shift {params.tn5_shift:q} \
            --duplicates {params.duplicates:q} \
            --min-mapq {params.min_mapq:q} \
            --improper-pairs {params.improper_pairs:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --output {output.track:q} \
            --log {log:q}
        """
