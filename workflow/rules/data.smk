"""What does the network see? fetch -> downloads/; simulate, preflight, encode -> results/{sample}/data/."""


rule fetch:
    """Download a file that the sample table names by its address, and check it; nothing reads it before."""
    output:
        file="downloads/{key}/{name}",
        # left in place when the file is fetched again: a file that has changed is then noticed
        record=update("downloads/{key}/{name}.fetched.json"),
    log:
        "logs/fetch/{key}.{name}.log",
    benchmark:
        "benchmarks/fetch/{key}.{name}.tsv"
    wildcard_constraints:
        key="[0-9a-f]{12}",
        name=any_of([Path(path).name for path in REMOTES]),
    # where Snakemake itself runs: the nodes of a cluster often have no way out
    localrule: True
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=1440,
        # no parameter, because a checksum that is added later must not download the file again
        checksum=checksum_of,
    params:
        url=address_of,
        stage_version=STAGE_VERSIONS["fetch"],
    shell:
        r"""
        gatescope fetch \
            --url {params.url:q} \
            --checksum {resources.checksum:q} \
            --output {output.file:q} \
            --log {log:q}
        """


scattergather:
    encode=config["encode"]["pieces"],


rule simulate:
    """Make the planted genome, the data it would give, and the truth about it."""
    output:
        genome="results/{sample}/data/simulated/genome.fa",
        index="results/{sample}/data/simulated/genome.fa.fai",
        fragments="results/{sample}/data/simulated/fragments.tsv.gz",
        peaks="results/{sample}/data/simulated/peaks.narrowPeak",
        exclusion_list="results/{sample}/data/simulated/exclusion.bed",
        truth=multiext(
            "results/{sample}/data/simulated/truth/",
            "regions.bed",
            "boundaries.bed",
            "motifs.bed",
            "decoys.bed",
            "gaps.bed",
            "low_mappability.bed",
            "parameters.json",
            "oracle_state.bw",
            "oracle_state.bw.json",
        ),
    log:
        "logs/simulate/{sample}.log",
    wildcard_constraints:
        sample=any_of(PLANTED_SAMPLES),
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=subpath(output.genome, parent=True),
        contigs=config["planted"]["contigs"],
        contig_bp=config["planted"]["contig_bp"],
        seed=config["planted"]["seed"],
        stage_version=STAGE_VERSIONS["simulate"],
    shell:
        r"""
        gatescope simulate \
            --contigs {params.contigs:q} \
            --contig-bp {params.contig_bp:q} \
            --seed {params.seed:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule preflight:
    """Check that the inputs fit together; everything expensive waits for this."""
    input:
        genome=sample_file("genome"),
        atac=sample_file("atac"),
        peaks=sample_file("peaks"),
        exclusion_list=sample_file("exclusion_list"),
        tracks=track_files,
    output:
        "results/{sample}/data/preflight.json",
    log:
        "logs/preflight/{sample}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        # no parameter, because one more seed must not run this again, and with it all that follows
        run_sizes=RUN_SIZES,
    params:
        tracks=named_tracks,
        folds=json.dumps(FOLDS),
        tn5_shift=tn5_shift,
        duplicates=config["duplicates"],
        min_mapq=config["min_mapq"],
        improper_pairs=config["improper_pairs"],
        exclude_contigs=config["exclude_contigs"],
        window_bp=config["windows"]["window_bp"],
        max_unknown_fraction=config["windows"]["max_unknown_fraction"],
        stage_version=STAGE_VERSIONS["preflight"],
    shell:
        r"""
        gatescope preflight \
            --genome {input.genome:q} \
            --atac {input.atac:q} \
            --peaks {input.peaks:q} \
            --exclusion-list {input.exclusion_list:q} \
            --tracks {params.tracks:q} \
            --folds {params.folds:q} \
            --tn5-shift {params.tn5_shift:q} \
            --duplicates {params.duplicates:q} \
            --min-mapq {params.min_mapq:q} \
            --improper-pairs {params.improper_pairs:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --window-bp {params.window_bp:q} \
            --max-unknown-fraction {params.max_unknown_fraction:q} \
            --runs {resources.run_sizes:q} \
            --output {output:q} \
            --log {log:q}
        """


rule encode_piece:
    """Encode a share of the contigs; `encode` takes the shares over."""
    input:
        preflight="results/{sample}/data/preflight.json",
        genome=sample_file("genome"),
        cuts="results/{sample}/atac/cuts.bw",
        peaks=sample_file("peaks"),
        exclusion_list=sample_file("exclusion_list"),
        tracks=encoded_track_files,
    output:
        done=temp(touch("results/{sample}/data/pieces/{scatteritem}")),
    log:
        "logs/encode_piece/{sample}.{scatteritem}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        store="results/{sample}/data/encoded",
        tracks=encoded_tracks,
        folds=json.dumps(FOLDS),
        exclude_contigs=config["exclude_contigs"],
        window_bp=config["windows"]["window_bp"],
        background_ratio=config["windows"]["background_ratio"],
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["encode"],
    shell:
        r"""
        gatescope encode \
            --genome {input.genome:q} \
            --cuts {input.cuts:q} \
            --peaks {input.peaks:q} \
            --exclusion-list {input.exclusion_list:q} \
            --tracks {params.tracks:q} \
            --folds {params.folds:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --window-bp {params.window_bp:q} \
            --background-ratio {params.background_ratio:q} \
            --seed {params.seed:q} \
            --piece {wildcards.scatteritem:q} \
            --output {params.store:q} \
            --log {log:q}
        """


rule encode:
    """Write the encoded store: base codes, tracks, accessible state, training windows, folds."""
    input:
        preflight="results/{sample}/data/preflight.json",
        genome=sample_file("genome"),
        cuts="results/{sample}/atac/cuts.bw",
        peaks=sample_file("peaks"),
        exclusion_list=sample_file("exclusion_list"),
        tracks=encoded_track_files,
        pieces=pieces_of("encode", "data/pieces"),
    output:
        store=directory("results/{sample}/data/encoded"),
        funnel=multiext("results/{sample}/data/regions_funnel", ".tsv", ".svg"),
        near_duplicates="results/{sample}/data/near_duplicates.tsv",
    log:
        "logs/encode/{sample}.log",
    benchmark:
        "benchmarks/encode/{sample}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        tracks=encoded_tracks,
        folds=json.dumps(FOLDS),
        exclude_contigs=config["exclude_contigs"],
        window_bp=config["windows"]["window_bp"],
        background_ratio=config["windows"]["background_ratio"],
        max_unknown_fraction=config["windows"]["max_unknown_fraction"],
        outlier_ratio=config["windows"]["outlier_ratio"],
        near_duplicates=config["windows"]["near_duplicates"],
        reports=subpath(output.near_duplicates, parent=True),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["encode"],
    shell:
        r"""
        gatescope encode \
            --genome {input.genome:q} \
            --cuts {input.cuts:q} \
            --peaks {input.peaks:q} \
            --exclusion-list {input.exclusion_list:q} \
            --tracks {params.tracks:q} \
            --folds {params.folds:q} \
            --exclude-contigs {params.exclude_contigs:q} \
            --window-bp {params.window_bp:q} \
            --background-ratio {params.background_ratio:q} \
            --max-unknown-fraction {params.max_unknown_fraction:q} \
            --outlier-ratio {params.outlier_ratio:q} \
            --near-duplicates {params.near_duplicates:q} \
            --seed {params.seed:q} \
            --output {output.store:q} \
            --reports {params.reports:q} \
            --log {log:q}
        """
