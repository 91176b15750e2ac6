"""What do gates do where a region begins and ends? boundaries, verdict -> results/{sample}/boundaries/."""


rule boundaries:
    """Compare memory kept at boundaries with circular shifts, the untrained twin and matched places."""
    input:
        store="results/{sample}/data/encoded",
        description="results/{sample}/model/{run}/model.json",
        trace="results/{sample}/trace/{run}/summary.json",
        units="results/{sample}/trace/{run}/units",
        twin="results/{sample}/trace/{run}.random/summary.json",
        twin_units="results/{sample}/trace/{run}.random/units",
    output:
        profile="results/{sample}/boundaries/{run}/profile.tsv",
        units="results/{sample}/boundaries/{run}/units.tsv",
        verdict="results/{sample}/boundaries/{run}/verdict.json",
        figure="results/{sample}/boundaries/{run}/profile.svg",
    log:
        "logs/boundaries/{sample}.{run}.log",
    benchmark:
        "benchmarks/boundaries/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        trace=subpath(input.trace, parent=True),
        twin=subpath(input.twin, parent=True),
        model=subpath(input.description, parent=True),
        folder=subpath(output.verdict, parent=True),
        settings=json.dumps(config["boundaries"]),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["boundaries"],
    shell:
        r"""
        gatescope boundaries \
            --store {input.store:q} \
            --trace {params.trace:q} \
            --twin {params.twin:q} \
            --model {params.model:q} \
            --settings {params.settings:q} \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule verdict:
    """Say what all runs of a sample together show."""
    input:
        expand("results/{{sample}}/boundaries/{run}/verdict.json", run=GATE_RUNS),
    output:
        "results/{sample}/boundaries/verdict.json",
    log:
        "logs/verdict/{sample}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        stage_version=STAGE_VERSIONS["verdict"],
    shell:
        r"""
        gatescope verdict \
            --verdicts {input:q} \
            --output {output:q} \
            --log {log:q}
        """
