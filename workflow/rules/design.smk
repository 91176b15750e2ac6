"""Which sequence holds a memory? design -> results/{sample}/design/{run}/."""


rule design:
    """Find the best periodic carrier for the best-holding hidden unit, predicted and measured."""
    input:
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        census="results/{sample}/trace/{run}/units.tsv",
        summary="results/{sample}/trace/{run}/summary.json",
    output:
        constructs="results/{sample}/design/{run}/constructs.fa",
        table="results/{sample}/design/{run}/designs.tsv",
    log:
        "logs/design/{sample}.{run}.log",
    benchmark:
        "benchmarks/design/{sample}.{run}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        model=subpath(input.model, parent=True),
        trace=subpath(input.summary, parent=True),
        folder=subpath(output.table, parent=True),
        settings=json.dumps(config["design"]),
        stage_version=STAGE_VERSIONS["design"],
    shell:
        r"""
        gatescope design \
            --model {params.model:q} \
            --trace {params.trace:q} \
            --settings {params.settings:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
