"""gatescope: FASTA and ATAC-seq in, gate tracks around the boundaries of accessible regions out.

A table of contents: the rules live in workflow/rules/, one file per stage, and every rule calls
`gatescope` once. Run it from this folder with

    snakemake --workflow-profile workflow/profiles/default
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/atac.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/trace.smk"
include: "workflow/rules/boundaries.smk"
include: "workflow/rules/grammar.smk"
include: "workflow/rules/effects.smk"
include: "workflow/rules/design.smk"
include: "workflow/rules/browser.smk"


# in this file because an included one never sets the default target
rule all:
    """Make everything: report, hub, verdict and designs of every sample."""
    input:
        reports=expand("results/{sample}/browser/report.html", sample=SAMPLES),
        hubs=expand("results/{sample}/browser/hub.txt", sample=SAMPLES),
        ensembles=expand(
            "results/{sample}/model/{name}.ensemble/evaluation.tsv", sample=SAMPLES, name=ENSEMBLES
        ),
        comparisons=[file for sample in SAMPLES for file in comparison_of(sample)],
        audits=expand("results/{sample}/trace/{run}/reach.tsv", sample=SAMPLES, run=GATE_RUNS),
        loci=expand("results/{sample}/trace/{run}/locus/locus.svg", sample=SAMPLES, run=GATE_RUNS),
        verdicts=expand("results/{sample}/boundaries/verdict.json", sample=SAMPLES),
        grammars=expand(
            "results/{sample}/boundaries/{run}/grammar/grammar.json", sample=SAMPLES, run=GATE_RUNS
        ),
        terms=expand("results/{sample}/effects/{run}/grammar_terms.tsv", sample=SAMPLES, run=GATE_RUNS),
        designs=expand("results/{sample}/design/{run}/constructs.fa", sample=SAMPLES, run=GATE_RUNS),


onsuccess:
    print_outcome()
