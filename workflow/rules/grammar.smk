"""Which words make units forget and write? grammar, grammar_terms -> results/{sample}/boundaries/{run}/grammar/, effects/."""


rule grammar:
    """Align what was read at gate events and find motifs, beside the untrained twin's."""
    input:
        store="results/{sample}/data/encoded",
        description="results/{sample}/model/{run}/model.json",
        trace="results/{sample}/trace/{run}/summary.json",
        trace_units="results/{sample}/trace/{run}/units",
        twin="results/{sample}/trace/{run}.random/summary.json",
        twin_units="results/{sample}/trace/{run}.random/units",
        units="results/{sample}/boundaries/{run}/units.tsv",
        motifs=MOTIFS or [],
    output:
        summary="results/{sample}/boundaries/{run}/grammar/grammar.json",
        events="results/{sample}/boundaries/{run}/grammar/events.tsv",
        tables=expand(
            "results/{{sample}}/boundaries/{{run}}/grammar/{table}.tsv",
            table=("motifs", "columns", "spacing", "pairs", "matches"),
        ),
        meme="results/{sample}/boundaries/{run}/grammar/motifs.meme",
        jaspar="results/{sample}/boundaries/{run}/grammar/motifs.jaspar",
        logos="results/{sample}/boundaries/{run}/grammar/motifs.svg",
        spacing="results/{sample}/boundaries/{run}/grammar/spacing.svg",
    log:
        "logs/grammar/{sample}.{run}.log",
    benchmark:
        "benchmarks/grammar/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        trace=subpath(input.trace, parent=True),
        twin=subpath(input.twin, parent=True),
        model=subpath(input.description, parent=True),
        folder=subpath(output.summary, parent=True),
        settings=json.dumps({key: value for key, value in config["grammar"].items() if key != "motifs"}),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["grammar"],
    shell:
        r"""
        gatescope grammar \
            --store {input.store:q} \
            --trace {params.trace:q} \
            --twin {params.twin:q} \
            --model {params.model:q} \
            --units {input.units:q} \
            --motifs {input.motifs:q} \
            --settings {params.settings:q} \
            --seed {params.seed:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule grammar_terms:
    """Split the gates' logits at these events into bias, sequence, input tracks and recurrence."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        events="results/{sample}/boundaries/{run}/grammar/events.tsv",
    output:
        "results/{sample}/effects/{run}/grammar_terms.tsv",
    log:
        "logs/grammar_terms/{sample}.{run}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        model=subpath(input.model, parent=True),
        stage_version=STAGE_VERSIONS["grammar_terms"],
    shell:
        r"""
        gatescope grammar_terms \
            --store {input.store:q} \
            --model {params.model:q} \
            --events {input.events:q} \
            --threads {threads:q} \
            --output {output:q} \
            --log {log:q}
        """
