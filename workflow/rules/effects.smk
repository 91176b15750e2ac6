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
        units=temp(directory("results/{sample}/trace/{run}.shuffled/units")),
    log:
        "logs/trace_shuffled_twin/{sample}.{run}.log",
