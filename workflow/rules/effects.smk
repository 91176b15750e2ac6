"""What changes when a gate or a base changes? -> results/{sample}/effects/{run}/; the trained twin's trace."""


# the trained twin stands beside the untrained one where boundaries: controls is full
use rule trace_twin as trace_shuffled_twin with:
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}.shuffled/model.safetensors",
        description="results/{sample}/model/{run}.shuffled/model.json",
    output:
        census="results/{sample}/trace/{run}.shuffled/units.tsv",
        summary="results/{sample}/trace/{run}.shuffled/summary.json",
        units_sample="results/{sample}/trace/{run}.shuffled/unit_sample.npz",
        units=temp(directory("results/{sample}/trace/{run}.shuffled/units")),
    log:
        "logs/trace_shuffled_twin/{sample}.{run}.log",


rule clamp:
    """Hold the forget gates that `boundaries` has chosen at boundaries: what does the prediction beyond owe to them?"""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        units="results/{sample}/boundaries/{run}/units.tsv",
    output:
        table="results/{sample}/effects/{run}/clamp.tsv",
        summary="results/{sample}/effects/{run}/clamp.json",
    log:
        "logs/clamp/{sample}.{run}.log",
    benchmark:
        "benchmarks/clamp/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.table, parent=True),
        dip_bp=config["boundaries"]["dip_bp"],
        flank_bp=config["boundaries"]["flank_bp"],
        context_bp=max(1000, 4 * config["boundaries"]["flank_bp"]),
        bootstraps=config["boundaries"]["bootstraps"],
        dtype=config["trace"]["dtype"],
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["clamp"],
    shell:
        r"""
        gatescope clamp \
            --store {input.store:q} \
            --model {params.model:q} \
            --units {input.units:q} \
            --dip-bp {params.dip_bp:q} \
            --flank-bp {params.flank_bp:q} \
            --context-bp {params.context_bp:q} \
            --bootstraps {params.bootstraps:q} \
            --dtype {params.dtype:q} \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule reshuffle:
    """Shuffle the bases on either side of boundaries: does composition alone make gates fall there?"""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
    output:
        table="results/{sample}/effects/{run}/shuffled_flanks.tsv",
        summary="results/{sample}/effects/{run}/shuffled_flanks.json",
    log:
        "logs/reshuffle/{sample}.{run}.log",
    benchmark:
        "benchmarks/reshuffle/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        folder=subpath(output.table, parent=True),
        dip_bp=config["boundaries"]["dip_bp"],
        flank_bp=config["boundaries"]["flank_bp"],
        context_bp=max(1000, 4 * config["boundaries"]["flank_bp"]),
        bootstraps=config["boundaries"]["bootstraps"],
        dtype=config["trace"]["dtype"],
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["reshuffle"],
    shell:
        r"""
        gatescope reshuffle \
            --store {input.store:q} \
            --model {params.model:q} \
            --dip-bp {params.dip_bp:q} \
            --flank-bp {params.flank_bp:q} \
            --context-bp {params.context_bp:q} \
            --bootstraps {params.bootstraps:q} \
            --dtype {params.dtype:q} \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
