# Everything a contributor types. Needs Python 3.11 or later, make and pip; the rest goes into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that really starts and is new enough (a version manager's shim may exist and not start).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
DAGS ?= dags
ARGS ?=
SEEDS ?= 0:1000
# Parallel pytest processes; 0 runs them in this one. Tests that start daemons always share one process.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist loadgroup)

.PHONY: help run test check fmt bench bench-peers simulate mutants chaos cov migration build clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS='...' is handed on: make test ARGS='tests/unit -k cron', make run ARGS='--workers 8'"

# --- environment ------------------------------------------------------------------------------------------------------

# Without ensurepip (some distributions split it off) the interpreter's own pip fills the environment from outside.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "dagd needs Python 3.11 or later; none of python3.11 to python3.14 or python3 is one." \
		"Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dagd needs Python 3.11 or later; $(PYTHON) is older or does not start." >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
		else $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; fi

# One environment, two stamps: the test install is the run install and more.
$(VENV)/.run-stamp: pyproject.toml | $(BIN)/python
	@echo "installing dagd and what it needs to run"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test-stamp: pyproject.toml | $(BIN)/python
	@echo "installing dagd, Postgres support and the test tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $(VENV)/.run-stamp $@

# --- use --------------------------------------------------------------------------------------------------------------

run: $(VENV)/.run-stamp  ## start dagd on the example DAGs (Ctrl-C stops it)
	@exec $(BIN)/dagd up --dags $(DAGS) $(ARGS)

# --- develop ----------------------------------------------------------------------------------------------------------

test: $(VENV)/.test-stamp  ## run every test tier but benchmark and the long chaos, on SQLite and Postgres
	@$(PYTEST) $(ARGS)

check: $(VENV)/.test-stamp  ## lint, formatting, types, floors, house rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/house

fmt: $(VENV)/.test-stamp  ## fix what can be fixed: imports, simple lint, formatting
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(VENV)/.test-stamp  ## measure throughput, latency and memory
	@$(BIN)/python -m tests.benchmark.bench $(ARGS)

bench-peers: $(VENV)/.test-stamp  ## measure Airflow, Celery, Dagster, Luigi and Prefect beside dagd; installs them below ~/.cache
	@$(BIN)/python -m tests.benchmark.peers.run $(ARGS)

simulate: $(VENV)/.test-stamp  ## tell stories with seeded faults: make simulate SEEDS=0:10000 (goes on where it stopped)
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --resume .simulated.json --jobs $(if $(filter-out 0,$(JOBS)),$(JOBS),1) $(ARGS)

mutants: $(VENV)/.test-stamp  ## plant each defect of tests/mutants and see that a test finds it
	@$(BIN)/python -m tests.mutants.run $(ARGS)

chaos: $(VENV)/.test-stamp  ## kill, stop and starve real processes; DAGD_TEST_CHAOS_SECONDS=1800 for longer
	@$(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

cov: $(VENV)/.test-stamp  ## the tests of make test, with a report of lines never run
	@$(PYTEST) --cov --cov-report=term --cov-report=html:.cov $(ARGS)

migration: $(VENV)/.test-stamp  ## new migration from the difference to the schema: make migration NAME='add pools'
	@test -n "$(NAME)" || { echo "say what it does: make migration NAME='add pools'" >&2; exit 2; }
	@$(BIN)/python scripts/new_migration.py "$(NAME)"
	@$(BIN)/ruff check --fix-only --quiet migrations/versions
	@$(BIN)/ruff format --quiet migrations/versions

build: $(VENV)/.run-stamp  ## wheel in dist/
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:  ## remove the environment, caches and build results (not .dagd, where runs are kept)
	rm -rf $(VENV) dist build .cov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
