"""Where did Tn5 cut, where often, and what does it like? cuts, peaks, bias -> results/{sample}/atac/."""


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
        replicates=kept_replicates("results/{sample}/atac/replicates"),
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
        replicates=config["replicates"],
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
            --replicates {params.replicates:q} \
            --output {output.track:q} \
            --log {log:q}
        """


# before preflight, which reads the peaks: it checks by itself what preflight would find too late
rule peaks:
    """Call accessible regions with MACS3, for samples whose table names none."""
    input:
        atac=sample_file("atac"),
        genome=sample_file("genome"),
        exclusion_list=sample_file("exclusion_list"),
        tracks=track_files,
    output:
        peaks="results/{sample}/atac/peaks.narrowPeak",
        sidecar="results/{sample}/atac/peaks.narrowPeak.json",
    log:
        "logs/peaks/{sample}.log",
    benchmark:
        "benchmarks/peaks/{sample}.tsv"
    wildcard_constraints:
        sample=any_of(SAMPLES_WITHOUT_PEAKS),
    conda:
        "../../envs/peaks.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        tracks=named_tracks,
        folds=json.dumps(FOLDS),
        tn5_shift=tn5_shift,
        duplicates=config["duplicates"],
        min_mapq=config["min_mapq"],
        improper_pairs=config["improper_pairs"],
        exclude_contigs=config["exclude_contigs"],
        q_value=config["peaks"]["q_value"],
        stage_version=STAGE_VERSIONS["peaks"],
    shell:
        r"""
        gatescope peaks \
            --atac {input.atac:q} \
            --genome {input.genome:q} \
            --exclusion-list {input.exclusion_list:q} \
            --tracks {params.tracks:q} \
            --folds {params.folds:q} \
            --tn5-shift {params.tn5_shift:q} \
            --duplicates {params.duplicates:q} \
            --min-mapq {params.min_mapq:q} \
            --improper-pairs {params.improper_pairs:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --q-value {params.q_value:q} \
            --output {output.peaks:q} \
            --log {log:q}
        """


rule bias:
    """Model what Tn5 likes to cut, and say how much of the signal that explains."""
    input:
        genome=sample_file("genome"),
        cuts="results/{sample}/atac/cuts.bw",
        peaks=sample_file("peaks"),
        exclusion_list=sample_file("exclusion_list"),
    output:
        track="results/{sample}/atac/tn5_bias.bw",
        sidecar="results/{sample}/atac/tn5_bias.bw.json",
        found=multiext("results/{sample}/atac/tn5_bias", ".json", ".svg"),
    log:
        "logs/bias/{sample}.log",
    benchmark:
        "benchmarks/bias/{sample}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folds=json.dumps(FOLDS),
        exclude_contigs=config["exclude_contigs"],
        stage_version=STAGE_VERSIONS["bias"],
    shell:
        r"""
        gatescope bias \
            --genome {input.genome:q} \
            --cuts {input.cuts:q} \
            --peaks {input.peaks:q} \
            --exclusion-list {input.exclusion_list:q} \
            --folds {params.folds:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --output {output.track:q} \
            --log {log:q}
        """
