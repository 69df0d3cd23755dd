# `make demo` and `make check` are all the set-up there is: Python 3.11+ and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
SECONDS ?= 600

.PHONY: help demo check check-all fix bench bench-rollout fuzz reliability lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(READY): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Clary needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## train the C-MAPSS model, host it through boto3, score 104,897 rows, scale out and in, delete everything
	$(BIN)/clary exec --serve -- $(BIN)/python demo/cmapss.py

check: $(READY) ## every check and test but the slow ones
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m clary.edge.aws.fields_doc --check
	$(BIN)/python -m clary.cli.reference --check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

check-all: check ## `make check`, then kill loops, large uploads, upgrades, and clients as published (1 GB on the first run)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

fix: $(READY) ## format, repair what can be repaired, write the generated files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m clary.edge.aws.fields_doc
	$(BIN)/python -m clary.cli.reference

bench-rollout: $(READY) ## roll out under 64 clients: every policy, every crash of a new version
	$(BIN)/python -m bench.rollout

bench: $(READY) ## measure, and print ratios from this one run
	$(BIN)/python -m bench

fuzz: $(READY) ## fuzz every parser for SECONDS (600), from the seeds and what they led to
	$(BIN)/uv pip install --quiet --python $(VENV) --group fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

reliability: $(READY) ## break it under 64 clients and write the table of docs/reliability.md
	$(BIN)/python -m pytest -m slow tests/faults --write-reliability docs/reliability.md

lock: $(READY) ## resolve the dependencies anew, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --all-extras --group dev pyproject.toml -o requirements/dev.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
