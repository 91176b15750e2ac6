#!/bin/bash
# Snakemake runs this in its working directory, inside the new environment.
set -euo pipefail
if ! grep -q '^name = "gatescope"' pyproject.toml 2>/dev/null; then
    echo "gatescope: create conda environments from the gatescope folder (not with --directory)" >&2
    exit 1
fi
python -m pip install -c constraints.txt .
