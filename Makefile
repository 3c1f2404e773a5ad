# Everything runs in .venv, which any target makes by itself where it is missing or out of date.
SHELL := /bin/sh
PYTHON := $(firstword $(foreach p,python3.12 python3.11 python3,$(shell command -v $(p) 2>/dev/null)))
PY := .venv/bin/python
READY := .venv/.ready
DEMO ?= demo
ZOO ?= models/zoo/digits

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all rehearsal lint format scan zoo clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with the pinned dependencies

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 12); ok or sys.exit("error: Python 3.11 or 3.12 is needed, found " + sys.version.split()[0] + "; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet -c constraints.txt -e '.[research,train,dev]'
	@touch $@

demo: $(READY) ## Stitch the digits pair at every fraction, draw the curve and the strip, say what was found
	$(PY) -m scripts.sweep pair=digits_dit_s_xl 'guidance_scales=[1.0,1.5]' num_images=1000 out=$(DEMO)/two_models
	$(PY) -m scripts.sweep pair=digits_dit_s_b_xl 'fractions=[[0.3,0.3,0.4]]' num_images=1000 out=$(DEMO)/three_models
	$(PY) -m scripts.summary 'sweeps=[$(DEMO)/two_models,$(DEMO)/three_models]' out=$(DEMO)/summary.md

test: $(READY) ## Run the tests (minutes on two cores)
	$(PY) -m pytest

test-all: $(READY) ## Run the slow tests too
	$(PY) -m pytest -m 'not gpu'

rehearsal: $(READY) ## Full-size random checkpoints through the commands: sizes, operations, memory
	$(PY) -m pytest -m slow -s tests/test_rehearsal.py

lint: $(READY) ## Check style, formatting and the direction of the imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

format: $(READY) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

scan: $(READY) ## Score DiT-XL for digits at several guidance scales
	$(PY) -m scripts.sweep pair=digits_dit_s_xl 'fractions=[0]' 'guidance_scales=[1,1.1,1.25,1.5,2]' num_images=2000 out=runs/scan

zoo: $(READY) ## Train the whole digits zoo again, on a CPU (about an hour on two cores)
	for recipe in classifier autoencoder dit_s dit_b dit_xl; do \
		$(PY) -m scripts.train recipe=digits_$$recipe zoo=$(ZOO) || exit; \
	done

clean: ## Remove the demo's and the runs' files, not .venv
	rm -rf $(DEMO) runs
