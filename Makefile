# `make` lists the targets. All that is needed beforehand: Python 3.12 or newer, git and make.

PYTHON ?= python3
PORT ?= 4701
STAGE ?= dev

BIN := .venv/bin
INSTALLED := .venv/.installed
REQUIREMENTS := requirements/layer.txt requirements/reports.txt requirements/dev.txt
SOURCES := layers/consulta:tools:.

# Only for what imports the project itself; functions get it from their layer.
PROJECT := PYTHONPATH=$(SOURCES) $(BIN)/python -m
STACK := $(BIN)/python -m local.stack
PYTEST := $(BIN)/pytest
# SAM as local/deploy.py calls it: no telemetry, no weekly question for a newer SAM, no account.
SAM := SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS=1 __SAM_CLI_APP_DIR=.local/sam SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(BIN)/sam
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-header --no-annotate --python-version 3.12 $(if $(UPGRADE),--upgrade)

# Compiled once and kept (git ignores it), whatever the shell says: else every process, and each
# function on the local AWS, compiles all that it imports again.
export PYTHONDONTWRITEBYTECODE :=

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run deploy stop status test lint types contracts template unit integration e2e format openapi \
	bench soak verify lock clean

help:  ## List the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
		while IFS='|' read -r target text; do printf '%-20s %s\n' "$$target" "$$text"; done

# --- The system on this machine ------------------------------------------------------------------

run: $(INSTALLED)  ## Start everything here (DETACH=1: return when ready, PORT=4801, AUTH=1: enforce IAM)
	@$(STACK) up --port $(PORT) $(if $(DETACH),--detach) $(if $(AUTH),--auth)

deploy: openapi  ## Build and deploy to AWS with your own credentials (STAGE=dev|prod)
	PATH="$(CURDIR)/$(BIN):$$PATH" sam build --config-env $(STAGE)
	$(BIN)/sam deploy --config-env $(STAGE)

stop: $(INSTALLED)  ## Stop what `make run` started
	@$(STACK) down

status: $(INSTALLED)  ## Say what of it runs
	@$(STACK) status

verify: $(INSTALLED)  ## Recompute every figure of the running system, prove its ledger and its audit
	@$(PROJECT) consulta_cli verify
	@$(PROJECT) consulta_cli ledger verify
	@$(PROJECT) consulta_cli audit verify

# --- Checks --------------------------------------------------------------------------------------

test: lint types contracts template unit integration e2e  ## Run every check and test

lint: $(INSTALLED)  ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED)  ## Check types
	$(BIN)/mypy

contracts: $(INSTALLED)  ## Check which package may import which
	PYTHONPATH=$(SOURCES) $(BIN)/lint-imports

template: $(INSTALLED)  ## Check template.yaml
	@mkdir -p .local/sam && printf '{"lastVersionCheck": 4102444800.0}' > .local/sam/metadata.json
	$(BIN)/cfn-lint template.yaml
	$(SAM) validate --lint --template-file template.yaml

unit: $(INSTALLED)  ## Test the rules, without sockets
	$(PYTEST) tests/unit -n 2

integration: openapi  ## Test against emulated AWS services
	$(PYTEST) tests/integration -n 2 --dist loadfile --no-loadscope-reorder

e2e: $(INSTALLED)  ## Test the deployed system over HTTP
	$(PYTEST) tests/e2e

format: $(INSTALLED)  ## Format and fix what can be fixed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

openapi: $(INSTALLED)  ## Write the API's description from the code (a build needs it)
	@PYTHONPATH=$(SOURCES) $(BIN)/python tools/openapi.py

bench: $(INSTALLED)  ## Measure against the budgets (ONLY=<prefix>: a part)
	@$(PROJECT) benchmarks $(ONLY)

soak: $(INSTALLED)  ## Pay, refund and dispute amid failures on the running system (COUNT=2000)
	@$(PROJECT) tests.soak $(or $(COUNT),2000)
	@$(PROJECT) consulta_cli audit verify

# --- What is installed (docs/decisions/0001) -----------------------------------------------------

lock: $(INSTALLED)  ## Pin what pyproject.toml asks for (UPGRADE=1: the newest)
	$(LOCK) pyproject.toml --output-file requirements/layer.txt
	$(LOCK) --group pyproject.toml:reports --output-file requirements/reports.txt
	$(LOCK) pyproject.toml --group reports --group dev --output-file requirements/dev.txt

# uv itself comes from the same pinned file, by pip.
$(INSTALLED): $(REQUIREMENTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null || { \
		echo "Python 3.12 or newer is needed, but $(PYTHON) is \
	$$($(PYTHON) --version 2>/dev/null || echo missing); name another: make PYTHON=python3.13 ..." \
		>&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" \
		>&2; exit 1; }
	@echo "Installing what requirements/dev.txt pins into .venv ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@sed -n '/^uv==/,/[^\\]$$/p' requirements/dev.txt > .venv/uv.txt
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --requirement .venv/uv.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	@touch $@

clean:  ## Stop the system and delete everything that can be made again
	@test ! -x $(BIN)/python || $(STACK) down
	rm -rf .venv .aws-sam .local .mypy_cache .pytest_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
