#!/bin/bash
# Snakemake runs this in its working directory, inside the new environment. bpnet-lite gets an environment of its
# own in it, as by `make bpnet-env`: its versions are not gatescope's.
set -euo pipefail
if ! grep -q '^name = "gatescope"' pyproject.toml 2>/dev/null; then
    echo "gatescope: create conda environments from the gatescope folder (not with --directory)" >&2
    exit 1
fi
python -m pip install -c constraints.txt \
    bioframe biopython matplotlib numpy pandas pyBigWig pybigtools pyfaidx pysam
python -m pip install --no-deps .
python -m venv "$CONDA_PREFIX/bpnet"
"$CONDA_PREFIX/bpnet/bin/python" -m pip install -c envs/bpnet-constraints.txt bpnet-lite
