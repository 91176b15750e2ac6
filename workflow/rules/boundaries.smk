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
        shuffled=shuffled_trace("summary.json"),
        shuffled_units=shuffled_trace("units"),
        flanks=only_full("results/{sample}/effects/{run}/shuffled_flanks.tsv"),
        peaks=sample_file("peaks"),
        state=predicted_state,
    output:
        units="results/{sample}/boundaries/{run}/units.tsv",
        verdict="results/{sample}/boundaries/{run}/verdict.json",
        modes="results/{sample}/boundaries/{run}/modes.tsv",
        detector="results/{sample}/boundaries/{run}/detector.tsv",
        definitions="results/{sample}/boundaries/{run}/definitions.tsv",
        profile="results/{sample}/boundaries/{run}/profile.tsv",
        figure="results/{sample}/boundaries/{run}/profile.svg",
        heatmap="results/{sample}/boundaries/{run}/heatmap.png",
        matrices=expand(
            "results/{{sample}}/boundaries/{{run}}/matrix.{direction}.{crossing}.gz",
            direction=DIRECTIONS,
            crossing=("entry", "exit"),
        ),
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
        shuffled=shuffled_folder,
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
            --shuffled {params.shuffled:q} \
            --shuffled-flanks {input.flanks:q} \
            --peaks {input.peaks:q} \
            --predicted-state {input.state:q} \
            --model {params.model:q} \
            --settings {params.settings:q} \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule verdict:
    """Say what all runs of a sample together show, and whether their units are the same."""
    input:
        verdicts=expand("results/{{sample}}/boundaries/{run}/verdict.json", run=GATE_RUNS),
        samples=expand("results/{{sample}}/trace/{run}/unit_sample.npz", run=GATE_RUNS),
        clamps=clamp_summaries,
    output:
        verdict="results/{sample}/boundaries/verdict.json",
        matches="results/{sample}/boundaries/unit_matches.tsv",
    log:
        "logs/verdict/{sample}.log",
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=subpath(output.verdict, parent=True),
        stage_version=STAGE_VERSIONS["verdict"],
    shell:
        r"""
        gatescope verdict \
            --verdicts {input.verdicts:q} \
            --samples {input.samples:q} \
            --clamps {input.clamps:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
