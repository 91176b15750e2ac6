"""What did every gate do at every base? trace -> results/{sample}/trace/{run}/."""


scattergather:
    trace=config["trace"]["pieces"],


rule trace_piece:
    """Replay the gates of a run on a share of the contigs; `trace` puts the shares together."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        units=[],
    output:
        done=temp(touch("results/{sample}/trace/{run}/pieces/{scatteritem}")),
    log:
        "logs/trace_piece/{sample}.{run}.{scatteritem}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder="results/{sample}/trace/{run}",
        contigs=config["trace"]["contigs"],
        dtype=config["trace"]["dtype"],
        unknown_bases=config["trace"]["unknown_bases"],
        stage_version=STAGE_VERSIONS["trace"],
    shell:
        r"""
        gatescope trace \
            --store {input.store:q} \
            --model {params.model:q} \
            --contigs {params.contigs:q} \
            --units {input.units:q} \
            --dtype {params.dtype:q} \
            --unknown-bases {params.unknown_bases:q} \
            --piece {wildcards.scatteritem:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule trace:
    """Replay the gates of a run, write their means as tracks, keep single units for `boundaries`."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        pieces=pieces_of("trace", "trace/{{run}}/pieces"),
    output:
        tracks=expand("results/{{sample}}/trace/{{run}}/{track}", track=gate_tracks("mean")),
        census="results/{sample}/trace/{run}/units.tsv",
        summary="results/{sample}/trace/{run}/summary.json",
        units_sample="results/{sample}/trace/{run}/unit_sample.npz",
        units=temp(directory("results/{sample}/trace/{run}/units")),
    log:
        "logs/trace/{sample}.{run}.log",
    benchmark:
        "benchmarks/trace/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.summary, parent=True),
        contigs=config["trace"]["contigs"],
        decimals=config["trace"]["decimals"],
        dtype=config["trace"]["dtype"],
        unknown_bases=config["trace"]["unknown_bases"],
        stage_version=STAGE_VERSIONS["trace"],
    shell:
        r"""
        gatescope trace \
            --store {input.store:q} \
            --model {params.model:q} \
            --contigs {params.contigs:q} \
            --tracks mean \
            --decimals {params.decimals:q} \
            --dtype {params.dtype:q} \
            --unknown-bases {params.unknown_bases:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule audit:
    """Follow memories through the whole network: where do its forget gates alone mislead?"""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
    output:
        table="results/{sample}/trace/{run}/reach.tsv",
        summary="results/{sample}/trace/{run}/audit.json",
    log:
        "logs/audit/{sample}.{run}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.table, parent=True),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["audit"],
    shell:
        r"""
        gatescope audit \
            --store {input.store:q} \
            --model {params.model:q} \
            --contigs held-out \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule trace_twin:
    """Replay the gates of the untrained twin on held-out contigs: what boundaries do without training."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}.random/model.safetensors",
        description="results/{sample}/model/{run}.random/model.json",
    output:
        census="results/{sample}/trace/{run}.random/units.tsv",
        summary="results/{sample}/trace/{run}.random/summary.json",
        units_sample="results/{sample}/trace/{run}.random/unit_sample.npz",
        units=temp(directory("results/{sample}/trace/{run}.random/units")),
    log:
        "logs/trace_twin/{sample}.{run}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.summary, parent=True),
        dtype=config["trace"]["dtype"],
        unknown_bases=config["trace"]["unknown_bases"],
        stage_version=STAGE_VERSIONS["trace"],
    shell:
        r"""
        gatescope trace \
            --store {input.store:q} \
            --model {params.model:q} \
            --contigs held-out \
            --tracks none \
            --dtype {params.dtype:q} \
            --unknown-bases {params.unknown_bases:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


use rule trace_piece as trace_boundary_units_piece with:
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        units="results/{sample}/boundaries/{run}/units.tsv",
    output:
        done=temp(touch("results/{sample}/trace/{run}/pieces_of_boundary_units/{scatteritem}")),
    log:
        "logs/trace_boundary_units_piece/{sample}.{run}.{scatteritem}.log",


rule trace_boundary_units:
    """Write the gates and the memory of the hidden units that `boundaries` has named as tracks of their own."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        units="results/{sample}/boundaries/{run}/units.tsv",
        pieces=pieces_of("trace", "trace/{{run}}/pieces_of_boundary_units"),
    output:
        tracks=expand(
            "results/{{sample}}/trace/{{run}}/{track}",
            track=gate_tracks("boundary_unit"),
        ),
        memory=expand(
            "results/{{sample}}/trace/{{run}}/{track}",
            track=gate_tracks("boundary_unit", MEMORY),
        ),
    log:
        "logs/trace_boundary_units/{sample}.{run}.log",
    benchmark:
        "benchmarks/trace_boundary_units/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder="results/{sample}/trace/{run}",
        contigs=config["trace"]["contigs"],
        decimals=config["trace"]["decimals"],
        dtype=config["trace"]["dtype"],
        unknown_bases=config["trace"]["unknown_bases"],
        stage_version=STAGE_VERSIONS["trace"],
    shell:
        r"""
        gatescope trace \
            --store {input.store:q} \
            --model {params.model:q} \
            --contigs {params.contigs:q} \
            --tracks none \
            --units {input.units:q} \
            --decimals {params.decimals:q} \
            --dtype {params.dtype:q} \
            --unknown-bases {params.unknown_bases:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule locus:
    """Draw one place through the gates of the units that `boundaries` has named, and which bases wrote their memory."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        units="results/{sample}/boundaries/{run}/units.tsv",
        genes=GENES or [],
    output:
        figure="results/{sample}/trace/{run}/locus/locus.svg",
        sources="results/{sample}/trace/{run}/locus/locus.sources.tsv",
        bedpe="results/{sample}/trace/{run}/locus/locus.bedpe",
        interact="results/{sample}/trace/{run}/locus/locus.interact",
        summary="results/{sample}/trace/{run}/locus/locus.json",
    log:
        "logs/locus/{sample}.{run}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.figure, parent=True),
        region=config["trace"]["locus"],
        dtype=config["trace"]["dtype"],
        unknown_bases=config["trace"]["unknown_bases"],
        stage_version=STAGE_VERSIONS["locus"],
    shell:
        r"""
        gatescope locus \
            --store {input.store:q} \
            --model {params.model:q} \
            --region {params.region:q} \
            --units {input.units:q} \
            --genes {input.genes:q} \
            --dtype {params.dtype:q} \
            --unknown-bases {params.unknown_bases:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
