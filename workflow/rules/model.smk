"""How is accessibility predicted? train, evaluate, ensemble, compare -> results/{sample}/model/; bpnet, a peer."""


rule train:
    """Train a network or a twin: {run}.random is untrained, .ablated has no recurrence, .shuffled has rotated targets."""
    input:
        store="results/{sample}/data/encoded",
    output:
        best="results/{sample}/model/{network}/model.safetensors",
        last="results/{sample}/model/{network}/last.safetensors",
        description="results/{sample}/model/{network}/model.json",
        card="results/{sample}/model/{network}/model_card.md",
        metrics="results/{sample}/model/{network}/metrics.tsv",
        history="results/{sample}/model/{network}/training.csv",
        reach="results/{sample}/model/{network}/gradient_reach.tsv",
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


rule ensemble:
    """Average what the seeds of one model and fold predict, and score the mean beside its members."""
    input:
        store="results/{sample}/data/encoded",
        descriptions=members_of("model.json"),
        state=members_of("predicted_state.bw"),
        cuts=members_of("predicted_cuts.bw"),
    output:
        scores="results/{sample}/model/{ensemble}.ensemble/evaluation.tsv",
        summary="results/{sample}/model/{ensemble}.ensemble/evaluation.json",
        members="results/{sample}/model/{ensemble}.ensemble/members.tsv",
        state="results/{sample}/model/{ensemble}.ensemble/predicted_state.bw",
        state_sidecar="results/{sample}/model/{ensemble}.ensemble/predicted_state.bw.json",
        cuts="results/{sample}/model/{ensemble}.ensemble/predicted_cuts.bw",
        cuts_sidecar="results/{sample}/model/{ensemble}.ensemble/predicted_cuts.bw.json",
    log:
        "logs/ensemble/{sample}.{ensemble}.log",
    benchmark:
        "benchmarks/ensemble/{sample}.{ensemble}.tsv"
    wildcard_constraints:
        ensemble=any_of(ensembles_that_predict("cuts", "state")),
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        members=member_folders,
        folder=subpath(output.scores, parent=True),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["ensemble"],
    shell:
        r"""
        gatescope ensemble \
            --store {input.store:q} \
            --members {params.members:q} \
            --seed {params.seed:q} \
            --output {params.folder:q} \
            --log {log:q}
        """


# the same for models that predict the state only
use rule ensemble as ensemble_state_only with:
    input:
        store="results/{sample}/data/encoded",
        descriptions=members_of("model.json"),
        state=members_of("predicted_state.bw"),
    output:
        scores="results/{sample}/model/{ensemble}.ensemble/evaluation.tsv",
        summary="results/{sample}/model/{ensemble}.ensemble/evaluation.json",
        members="results/{sample}/model/{ensemble}.ensemble/members.tsv",
        state="results/{sample}/model/{ensemble}.ensemble/predicted_state.bw",
        state_sidecar="results/{sample}/model/{ensemble}.ensemble/predicted_state.bw.json",
    wildcard_constraints:
        ensemble=any_of(ensembles_that_predict("state")),


# and for those that predict the cuts only
use rule ensemble as ensemble_cuts_only with:
    input:
        store="results/{sample}/data/encoded",
        descriptions=members_of("model.json"),
        cuts=members_of("predicted_cuts.bw"),
    output:
        scores="results/{sample}/model/{ensemble}.ensemble/evaluation.tsv",
        summary="results/{sample}/model/{ensemble}.ensemble/evaluation.json",
        members="results/{sample}/model/{ensemble}.ensemble/members.tsv",
        cuts="results/{sample}/model/{ensemble}.ensemble/predicted_cuts.bw",
        cuts_sidecar="results/{sample}/model/{ensemble}.ensemble/predicted_cuts.bw.json",
    wildcard_constraints:
        ensemble=any_of(ensembles_that_predict("cuts")),


rule compare:
    """Pool the held-out bins of all folds, score every predictor, and compare models in pairs."""
    input:
        bins=expand("results/{{sample}}/model/{run}/bins.npz", run=RUNS),
        descriptions=expand("results/{{sample}}/model/{run}/model.json", run=RUNS),
    output:
        scores="results/{sample}/model/comparison/scores.tsv",
        differences="results/{sample}/model/comparison/differences.tsv",
        summary="results/{sample}/model/comparison/comparison.json",
    log:
        "logs/compare/{sample}.log",
    benchmark:
        "benchmarks/compare/{sample}.tsv"
    conda:
        "../../envs/gatescope.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        models=run_folders,
        folder=subpath(output.scores, parent=True),
        seed=config["seed"],
        stage_version=STAGE_VERSIONS["compare"],
    shell:
        r"""
        gatescope compare \
            --models {params.models:q} \
            --seed {params.seed:q} \
            --output {params.folder:q} \
            --log {log:q}
        """
