# The commands of this repository; `make` alone prints them.
.DEFAULT_GOAL := help
.PHONY: help setup demo up check test test-unit test-long test-seeded bench docs lock

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.setup-stamp

help:
	@echo 'make setup        make .venv with the locked dependencies and shipway itself'
	@echo 'make demo         launch a real training on a queue of its own and follow it to its end'
	@echo 'make up           the embedded server, agent and page in the foreground'
	@echo 'make check        ruff, mypy, import contracts, habits, generated reference'
	@echo 'make test         everything that a release must pass'
	@echo 'make test-unit    the fast tests: no network, no processes'
	@echo 'make test-long    long simulations and chaos, by hand and before a release'
	@echo 'make test-seeded  put each known bug in on purpose; its test must turn red'
	@echo 'make bench        one table and one JSON file of measured ratios'
	@echo 'make docs         write docs/reference anew from the code'
	@echo 'make lock         compile requirements anew: ours, and the wandb clients of the tests'

$(STAMP): pyproject.toml requirements/dev.txt scripts/setup
	@sh scripts/setup $(VENV)
	@touch $@

setup: $(STAMP)
	@$(MAKE) --no-print-directory help

demo: $(STAMP)
	@$(PYTHON) examples/demo.py

up: $(STAMP)
	@$(VENV)/bin/shipway up

check: $(STAMP)
	@sh scripts/check $(VENV)

test: $(STAMP)
	@sh scripts/test $(VENV) all

test-unit: $(STAMP)
	@sh scripts/test $(VENV) unit

test-long: $(STAMP)
	@sh scripts/test $(VENV) long

test-seeded: $(STAMP)
	@$(PYTHON) scripts/seeded.py

bench: $(STAMP)
	@$(PYTHON) -m bench

docs: $(STAMP)
	@PYTHONPATH=. $(VENV)/bin/cog -r docs/reference/*.md

lock: $(STAMP)
	@$(VENV)/bin/uv pip compile --quiet --no-emit-index-url --no-emit-find-links --generate-hashes \
	  --universal --python-version 3.11 --extra postgres --extra search --custom-compile-command 'make lock' \
	  --output-file requirements/dev.txt pyproject.toml requirements/dev.in
	@for version in 0.20.1 0.31.0; do \
	  echo "wandb==$$version" | $(VENV)/bin/uv pip compile --quiet --no-emit-index-url \
	    --no-emit-find-links --generate-hashes --universal --python-version 3.11 --no-annotate \
	    --custom-compile-command 'make lock' --output-file requirements/wandb-$$version.txt - ; done
