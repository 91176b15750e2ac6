"""Which version is each stage's output at? Read by the verbs and, at parse time, by the workflow.

Public names: `STAGE_VERSIONS`.
"""

#: Raise a number when the bytes or the meaning of that verb's output change: Snakemake then reruns the
#: verb and what follows it. A package-wide version would retrain every network at each release.
STAGE_VERSIONS: dict[str, int] = {
    "fetch": 1,  # raising it downloads everything again
    "simulate": 2,
    "preflight": 6,
    "cuts": 3,
    "peaks": 1,
    "bias": 1,
    "encode": 5,
    "train": 7,
    "evaluate": 5,
    "bpnet": 2,
    "ensemble": 1,
    "compare": 1,
    "trace": 5,
    "audit": 1,
    "locus": 1,
    "boundaries": 4,
    "verdict": 2,
    "grammar": 1,
    "grammar_terms": 1,
    "clamp": 1,
    "reshuffle": 1,
    "design": 1,
    "hub": 3,
    "report": 10,
}
