# make demo        the planted genome, from nothing to the report
# make test        the test suite
# make acceptance  the long runs (real data: make acceptance GATESCOPE_DATA=/path/to/yeast)
# make peaks-env   MACS3 in an environment of its own, for samples without a peak file (4 minutes; needs a C compiler)
# make bpnet-env   bpnet-lite in an environment of its own, for BPNet as a peer (several minutes, 1 GB and more)
# make clean       remove what make made; results of your own samples stay
PYTHON ?= python3

CAN_INSTALL = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

.PHONY: demo test acceptance peaks-env bpnet-env clean

demo: .venv/.installed-demo
	.venv/bin/snakemake --workflow-profile workflow/profiles/default

test: .venv/.installed-test
	.venv/bin/pytest -n 2 --dist loadfile -m "not realdata and not browser and not interrupt and not interchange and not acceptance"

acceptance: .venv/.installed-test
	.venv/bin/pytest -m acceptance -s

peaks-env: .venv-peaks/.installed

bpnet-env: .venv-bpnet/.installed

clean:
	rm -rf .venv .venv-peaks .venv-bpnet .pytest_cache .ruff_cache .hypothesis .import_linter_cache build src/gatescope.egg-info
	rm -rf results/planted logs/*/planted* benchmarks/*/planted*

.venv/.installed-demo: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install -c constraints.txt -e .
	@touch $@

.venv/.installed-test: .venv/.installed-demo
	.venv/bin/python -m pip install -c constraints.txt -e '.[test]'
	@touch $@

.venv-peaks/.installed: .venv-peaks/bin/python envs/peaks-constraints.txt
	.venv-peaks/bin/python -m pip install -c envs/peaks-constraints.txt macs3
	@touch $@

.venv-bpnet/.installed: .venv-bpnet/bin/python envs/bpnet-constraints.txt
	.venv-bpnet/bin/python -m pip install -c envs/bpnet-constraints.txt bpnet-lite
	@touch $@

.venv/bin/python .venv-peaks/bin/python .venv-bpnet/bin/python:
	@$(PYTHON) -c '$(CAN_INSTALL)' 2>/dev/null || { echo "gatescope needs Python 3.11-3.13 with the venv module;" \
	"found $$($(PYTHON) --version 2>/dev/null || echo 'no $(PYTHON)'); apt install python3-venv," \
	"or name another Python: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(@:/bin/python=)
