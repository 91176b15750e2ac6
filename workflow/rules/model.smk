"""How is accessibility predicted? train, evaluate -> results/{sample}/model/{run}/; bpnet, a peer -> results/{sample}/bpnet/."""


rule train:
    """Train a network or one of its twins: {run}.random is untrained, {run}.ablated has no recurrence."""
    input:
        store="results/{sample}/data/encoded",
    output:
        best="results/{sample}/model/{network}/model.safetensors",
        last="results/{sample}/model/{network}/last.safetensors",
        description="results/{sample}/model/{network}/model.json",
        card="results/{sample}/model/{network}/model_card.md",
        metrics="results/{sample}/model/{network}/metrics.tsv",
        history="results/{sample}/model/{network}/training.csv",
    log:
        "logs/train/{sample}.{network}.log",
    benchmark:
        "benchmarks/train/{sample}.{network}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    # one for each direction of the network; the result does not depend on them
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=gpus_of,
        # not a parameter: networks are the same with any number of workers, and need no other training
        loader_workers=config["training"]["workers"],
    params:
        folder=subpath(output.best, parent=True),
        network=network_of,
        training=training_of,
        fold=fold_of,
        seed=seed_of,
        twin=twin_of,
        stage_version=STAGE_VERSIONS["train"],
    shell:
        r"""
        gatescope train \
            --store {input.store:q} \
            --run {wildcards.network:q} \
            --network {params.network:q} \
            --training {params.training:q} \
            --fold {params.fold:q} \
            --seed {params.seed:q} \
            --twin {params.twin:q} \
            --threads {threads:q} \
            --workers {resources.loader_workers:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


rule evaluate:
    """Score a run on held-out contigs beside its baselines, and write what it predicts there."""
    input:
        store="results/{sample}/data/encoded",
        model="results/{sample}/model/{run}/model.safetensors",
        description="results/{sample}/model/{run}/model.json",
        ablated=ablated_twin,
        predictors=oracle_file,
        bpnet=bpnet_track,
    output:
        scores="results/{sample}/model/{run}/evaluation.tsv",
        summary="results/{sample}/model/{run}/evaluation.json",
        contigs="results/{sample}/model/{run}/evaluation_contigs.tsv",
        bins="results/{sample}/model/{run}/bins.npz",
        state="results/{sample}/model/{run}/predicted_state.bw",
        state_sidecar="results/{sample}/model/{run}/predicted_state.bw.json",
        cuts="results/{sample}/model/{run}/predicted_cuts.bw",
        cuts_sidecar="results/{sample}/model/{run}/predicted_cuts.bw.json",
    log:
        "logs/evaluate/{sample}.{run}.log",
    benchmark:
        "benchmarks/evaluate/{sample}.{run}.tsv"
    wildcard_constraints:
        run=any_of(runs_that_predict("cuts", "state")),
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=subpath(input.model, parent=True),
        ablated=ablated_folder,
        predictors=named_predictors,
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["evaluate"],
    shell:
        r"""
        gatescope evaluate \
            --store {input.store:q} \
            --model {params.model:q} \
            --ablated {params.ablated:q} \
            --predictors {params.predictors:q} \
            --seed {params.seed:q} \
            --threads {threads:q} \
            --output {params.model:q} \
            --log {log:q}
        """


# the same without the predicted cuts, for models that predict the state only
use rule evaluate as evaluate_state_only with:
    output:
        scores="results/{sample}/model/{run}/evaluation.tsv",
        summary="results/{sample}/model/{run}/evaluation.json",
        contigs="results/{sample}/model/{run}/evaluation_contigs.tsv",
        bins="results/{sample}/model/{run}/bins.npz",
        state="results/{sample}/model/{run}/predicted_state.bw",
        state_sidecar="results/{sample}/model/{run}/predicted_state.bw.json",
    wildcard_constraints:
        run=any_of(runs_that_predict("state")),


# and without the predicted state, for models that predict the cuts only
use rule evaluate as evaluate_cuts_only with:
    output:
        scores="results/{sample}/model/{run}/evaluation.tsv",
        summary="results/{sample}/model/{run}/evaluation.json",
        contigs="results/{sample}/model/{run}/evaluation_contigs.tsv",
        bins="results/{sample}/model/{run}/bins.npz",
        cuts="results/{sample}/model/{run}/predicted_cuts.bw",
        cuts_sidecar="results/{sample}/model/{run}/predicted_cuts.bw.json",
    wildcard_constraints:
        run=any_of(runs_that_predict("cuts")),


rule bpnet:
    """Train BPNet on the contigs of the same fold, a peer to compare with: config key peers.bpnet_lite."""
    input:
        store="results/{sample}/data/encoded",
    output:
        cuts="results/{sample}/bpnet/{fold}.{seed}/predicted_cuts.bw",
        sidecar="results/{sample}/bpnet/{fold}.{seed}/predicted_cuts.bw.json",
        record="results/{sample}/bpnet/{fold}.{seed}/training.json",
    log:
        "logs/bpnet/{sample}.{fold}.{seed}.log",
    benchmark:
        "benchmarks/bpnet/{sample}.{fold}.{seed}.tsv"
    wildcard_constraints:
        fold=any_of(FOLDS),
        seed="[0-9]+",
    conda:
        "../../envs/bpnet.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=bpnet_runtime,
    params:
        folder=subpath(output.record, parent=True),
        settings=json.dumps(config["peers"].get("bpnet_lite", {})),
        stage_version=STAGE_VERSIONS["bpnet"],
    shell:
        r"""
        gatescope bpnet \
            --store {input.store:q} \
            --fold {wildcards.fold:q} \
            --seed {wildcards.seed:q} \
            --settings {params.settings:q} \
            --threads {threads:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
