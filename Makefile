# Everything runs in .venv, which any target makes by itself where it is missing or out of date.
SHELL := /bin/sh
# The first interpreter that runs and is of a supported version.
IS_SUPPORTED = import sys; (3, 11) <= sys.version_info[:2] <= (3, 12) or sys.exit(1)
PYTHON := $(firstword $(foreach p,python3 python3.12 python3.11,$(shell $(p) -c '$(IS_SUPPORTED)' 2>/dev/null && echo $(p))))
PY := .venv/bin/python
PYTEST = $(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal
READY := .venv/.ready
DEMO ?= demo
DEMO_SETTINGS = num_images=1000 sampler=dpmpp_2m sampler.num_steps=20 precision=auto latency.repeats=5
PAIR ?= digits_dit_s_xl
FRACTIONS ?= 0:1:0.1
STEPS ?= 50
SAMPLER ?= ddim
NUM ?= 1000
# A list such as 0,0.4,1 becomes one; a range such as 0:1:0.1 stays as it is.
FRACTIONS_VALUE = $(if $(findstring :,$(FRACTIONS)),$(FRACTIONS),[$(FRACTIONS)])
GPUS ?=
PAIRS ?= imagenet
DIGITS_SIZE = num_images=256 num_steps=50 'step_counts=[10,20,50,100]' fractions=0:1:0.25
DATA ?= digits

.DEFAULT_GOAL := help
APP_PAIR = $(if $(filter file,$(origin PAIR)),fashion_dit_s_xl,$(PAIR))
.PHONY: help setup demo app sweep table tables latency report wandb-sync test test-fast test-all test-slow rehearsal gpu bench bench-eval lint format scan zoo clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(READY) ## Make .venv with the pinned dependencies

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet -c constraints.txt -e '.[app,research,pipelines,train,dev]'
	@touch $@

demo: $(READY) ## Stitch the fashion pair at every fraction, three models, and fewer steps; say what was found
	$(PY) -m scripts.sweep pair=fashion_dit_s_xl $(DEMO_SETTINGS) 'fractions=[0,0.1,0.2,0.3,0.4,0.5,0.6,0.8,1]' \
		out=$(DEMO)/two_models
	$(PY) -m scripts.sweep pair=fashion_dit_s_b_xl $(DEMO_SETTINGS) \
		'fractions=[[0.4,0.2,0.4],[0.4,0.4,0.2],[0.5,0.3,0.2],[0.5,0.5,0]]' out=$(DEMO)/three_models
	$(PY) -m scripts.sweep pair=fashion_dit_s_xl $(DEMO_SETTINGS) 'fractions=[0]' 'num_steps=[6,12]' \
		'guidance_scales=[1.5,2]' 'also=[{fractions: [1], num_steps: [20,50]}]' out=$(DEMO)/other_steps
	$(PY) -m scripts.report out=$(DEMO)/report.html \
		'sweeps=[$(DEMO)/two_models,$(DEMO)/three_models,$(DEMO)/other_steps]'

app: $(READY) ## A window in the browser, for this machine alone: large, stitched, small side by side: make app [PAIR=fashion_dit_s_xl]
	$(PY) -m scripts.app pair=$(APP_PAIR)

sweep: $(READY) ## Sweep a pair: make sweep PAIR=fashion_unet_s_l [FRACTIONS=0,0.4,1] [STEPS=50] [SAMPLER=ddim] [GPUS=8] [NUM=1000]
	$(PY) -m scripts.sweep pair=$(PAIR) sampler=$(SAMPLER) sampler.num_steps=$(STEPS) num_images=$(NUM) \
		'fractions=$(FRACTIONS_VALUE)' precision=auto $(if $(GPUS),ranks=$(GPUS)) out=$(or $(OUT),null)

table: $(READY) ## A table or figure of the paper beside ours: make table NAME=table9 [PAIRS=digits] [TABLE_SETTINGS='num_images=256']
	$(PY) -m scripts.table name=$(NAME) pairs=$(PAIRS) precision=auto $(if $(GPUS),ranks=$(GPUS)) $(TABLE_SETTINGS)

tables: $(READY) ## All of them: make tables PAIRS=digits (26 minutes on one thread with DIGITS_SIZE, which it takes for the digits)
	$(PY) -m scripts.table pairs=$(PAIRS) precision=auto $(if $(GPUS),ranks=$(GPUS)) \
		$(or $(TABLE_SETTINGS),$(if $(filter digits,$(PAIRS)),$(DIGITS_SIZE)))

latency: $(READY) ## Latency against fraction, the ideal line and the machine's limit: make latency PAIR=digits_dit_s_xl
	$(PY) -m scripts.latency pair=$(PAIR) sampler=$(SAMPLER) sampler.num_steps=$(STEPS) 'fractions=$(FRACTIONS_VALUE)' out=$(or $(OUT),latency.json)

report: $(READY) ## One page on a sweep, HTML and Markdown, its plots as PNG and SVG beside it: make report RUN=runs/sweep-...
	$(PY) -m scripts.report 'sweep=$(RUN)'

wandb-sync: $(READY) ## Send what sweeps with wandb.mode=offline have logged below runs/ and RUN
	find $(wildcard runs) $(if $(RUN),'$(RUN)') -type d -name 'offline-run-*' -path '*/wandb/*' -exec .venv/bin/wandb sync {} +

test: $(READY) ## Run the tests but the long ones, a process for each core
	$(PYTEST)

test-fast: $(READY) ## Run the tests of the library, the networks and the metrics, for the loop while coding
	$(PYTEST) tests/tstitch tests/checkpoints tests/models tests/evaluation

test-all: $(READY) ## Run the long tests too, as CI does (25 minutes on two cores)
	$(PYTEST) -m 'not slow and not gpu'

test-slow: $(READY) ## Run the slow tests: a hundred kills, full-size networks
	$(PY) -m pytest -m 'slow and not gpu'

rehearsal: $(READY) ## The README's ImageNet commands on full-size files with random weights, served from this machine as they are published
	$(PY) -m pytest -m slow -s tests/test_rehearsal.py

gpu: $(READY) ## On an NVIDIA GPU: its tests, the rehearsal, latency and the sampler, into benchmarks/results/<gpu>.json (10 minutes)
	$(PY) -m benchmarks.gpu

bench: $(READY) ## The sampler beside diffusers', then latency (40 minutes on two cores, 24 GB of memory)
	$(PY) -m benchmarks.sampler
	$(PY) -m scripts.latency pair=digits_dit_s_xl precision=auto fractions=0:1:0.25 'batch_sizes=[8,64]' \
		out=benchmarks/results/latency_digits.json

bench-eval: $(READY) ## Evaluation of 5,000 images beside torch-fidelity's (a quarter of an hour on two cores)
	$(PY) -m benchmarks.evaluation

lint: $(READY) ## Check style, formatting and the direction of the imports
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports

format: $(READY) ## Format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

scan: $(READY) ## Score DiT-XL for digits at several guidance scales
	$(PY) -m scripts.sweep pair=digits_dit_s_xl 'fractions=[0]' 'guidance_scales=[1,1.1,1.2,1.3,1.5,2]' num_images=1000 sampler.num_steps=25 precision=auto out=runs/scan

zoo: $(READY) ## Train a zoo again: make zoo DATA=fashion FOLDER=DIR (the digits': about an hour on two cores, without it)
	for recipe in classifier autoencoder dit_s dit_xl $(if $(filter fashion,$(DATA)),decoder dit_s_plain dit_xl_continued dit_b unet_s unet); do \
		$(PY) -m scripts.train recipe=$$recipe images=$(DATA) $(if $(FOLDER),images.folder=$(FOLDER)) || exit; \
	done

clean: ## Remove the demo's and the runs' files, not .venv
	rm -rf -- "$(DEMO)" runs
