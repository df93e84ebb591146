# `make` lists what there is. Every target but help and clean first makes a virtual environment in .venv, with the
# packages of constraints.txt.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

# options of make demo
OPEN ?= 1
SOURCE ?= samples
MODEL ?=
DEMO ?= demo

# processes of make test
WORKERS ?= 2

# options of make canary; the newest torch may be a build for GPUs alone, then name another
CANARY_PYTHON ?= python3.13
CANARY_TORCH ?= torch

.PHONY: help demo test test-slow lint audit canary notebooks clean
.DEFAULT_GOAL := help

# A target is listed with what stands after its two number signs.
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --upgrade pip
	@# torch first and by itself: its pin is the CPU build where one is offered, and nothing later replaces it
	$(RUN)/pip install --quiet -c constraints.txt torch
	$(RUN)/pip install --quiet -c constraints.txt -e '.[features,training,serving,dev]'
	@touch $@

demo: $(VENV)/.ready ## the whole path on samples/, then the page on http://127.0.0.1:7860 (OPEN=0 ends instead)
	$(RUN)/cantowhisper demo --open $(OPEN) --source $(SOURCE) --out $(DEMO) $(if $(MODEL),--model $(MODEL))

# Files side by side, since the fixtures of a file are dear; in order, so that the longest is not begun last. The
# same random examples each time, so that a change fails by its own fault; plain pytest looks for new ones.
test: $(VENV)/.ready ## all tests but the slow ones, in WORKERS processes
	$(RUN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --hypothesis-profile=ci

test-slow: $(VENV)/.ready ## longer proofs: real weights and recordings (REAL_WEIGHTS, REAL_SPEECH), minutes each
	$(RUN)/python -m pytest -m slow

lint: $(VENV)/.ready ## style, types of speech and contracts, security of the pages, workflows and issue forms
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(RUN)/basedpyright --pythonpath $(RUN)/python
	$(RUN)/bandit --quiet --recursive --severity-level medium cantowhisper/serving
	$(RUN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml

# It asks the Python package index for each pinned package. Where only a mirror is reached nothing can be known, and
# --strict says so.
audit: $(VENV)/.ready ## known vulnerabilities of the pinned packages (needs the public package index)
	$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

canary: $(VENV)/.ready ## notebooks on the packages of Colab and on the newest ones, in environments of their own
	$(RUN)/python -m benchmarks.canary --python $(CANARY_PYTHON) --torch '$(CANARY_TORCH)'
	$(RUN)/python -m benchmarks.readme

notebooks: $(VENV)/.ready ## write the notebooks from their paired scripts, which are the source
	for name in whisper_feature_pipeline whisper_training_pipeline; do \
	  $(RUN)/jupytext --to ipynb --output $$name.ipynb $$name.py || exit 1; done
	$(RUN)/nbstripout whisper_feature_pipeline.ipynb whisper_training_pipeline.ipynb

clean: ## remove the virtual environment, the demo's folder and caches
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache *.egg-info
