# make demo   the whole path on samples/, then the offline page on http://127.0.0.1:7860
# make test   all tests but the slow ones
# Both make their own virtual environment in .venv first, with the packages of constraints.txt.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

# options of make demo
OPEN ?= 1
SOURCE ?= samples
MODEL ?=
DEMO ?= demo

.PHONY: demo test test-slow lint notebooks clean

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --upgrade pip
	@# torch first and by itself: its pin is the CPU build where one is offered, and nothing later replaces it
	$(RUN)/pip install --quiet -c constraints.txt torch
	$(RUN)/pip install --quiet -c constraints.txt -e '.[features,training,serving,dev]'
	@touch $@

demo: $(VENV)/.ready
	$(RUN)/cantowhisper demo --open $(OPEN) --source $(SOURCE) --out $(DEMO) $(if $(MODEL),--model $(MODEL))

test: $(VENV)/.ready
	$(RUN)/python -m pytest

# Longer proofs: real weights and real recordings (REAL_SPEECH, REAL_WEIGHTS), up to ten minutes each.
test-slow: $(VENV)/.ready
	$(RUN)/python -m pytest -m slow

lint: $(VENV)/.ready
	$(RUN)/ruff check . && $(RUN)/ruff format --check .

# Write the notebooks from their paired scripts (the scripts are the source).
notebooks: $(VENV)/.ready
	for name in whisper_feature_pipeline whisper_training_pipeline; do \
	  $(RUN)/jupytext --to ipynb --output $$name.ipynb $$name.py || exit 1; done
	$(RUN)/nbstripout whisper_feature_pipeline.ipynb whisper_training_pipeline.ipynb

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache *.egg-info
