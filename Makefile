# What people type. Everything runs in .venv, which appears by itself; python3 (3.11 or newer) is all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
# Three test processes suit two cores, since many tests wait; WORKERS=0 runs the tests in one.
WORKERS ?= 3
ARGS ?=
POSTGRES_URL ?= postgres://postgres@127.0.0.1:5432/postgres
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
COMPILE := cd requirements && ../$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --strip-extras --allow-unsafe

.DEFAULT_GOAL := help
.PHONY: help run install install-dev test test-postgres coverage e2e lint types imports migrations-check deploy-check \
	check format bench faults requirements clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: $(BASE) ## Start MayaGen on PORT (8000) with DATABASE_URL (SQLite in var/)
	@exec $(BIN)/python manage.py serve --demo --stop-with-parent

install: $(BASE) ## Install what the product needs
install-dev: $(DEV) ## Install what its development needs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MayaGen needs Python 3.11 or newer.")'
	@echo "Making the virtual environment in $(VENV)."
	@$(PYTHON) -m venv $(VENV)

$(BASE): requirements/base.txt | $(BIN)/python
	@echo "Installing the packages that MayaGen needs."
	@$(INSTALL) --requirement requirements/base.txt
	@touch $@

$(DEV): requirements/dev.txt $(BASE)
	@echo "Installing the packages that its development needs."
	@$(INSTALL) --requirement requirements/dev.txt
	@touch $@

test: $(DEV) ## Run all tests but the browser's, on SQLite
	@unset DATABASE_URL; exec $(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)

test-postgres: $(DEV) ## Run them on PostgreSQL, with those that need it (POSTGRES_URL)
	@DATABASE_URL="$(POSTGRES_URL)" exec $(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)

coverage: $(DEV) ## Run all tests but the browser's and list the lines that none of them reaches
	@unset DATABASE_URL; $(BIN)/python -m coverage run -m pytest --quiet $(ARGS)
	@$(BIN)/python -m coverage report

e2e: $(DEV) ## Run the browser's tests, on DATABASE_URL
	@exec $(BIN)/python -m pytest -m e2e --numprocesses $(WORKERS) $(ARGS)

lint: $(DEV) ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV) ## Check types
	@$(BIN)/mypy

imports: $(DEV) ## Check who imports whom
	@$(BIN)/lint-imports

migrations-check: $(DEV) ## Check that no migration is missing
	@$(BIN)/python manage.py makemigrations --check --dry-run

deploy-check: $(DEV) ## Check the settings as production has them
	@MAYAGEN_PRODUCTION=1 MAYAGEN_ALLOWED_HOSTS=mayagen.example \
		MAYAGEN_SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
		MAYAGEN_JWT_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

check: lint types imports migrations-check deploy-check ## All checks that are no tests

format: $(DEV) ## Put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(DEV) ## Run a benchmark: NAME=engine; without NAME, list them
ifdef NAME
	@exec $(BIN)/python -m tests.benchmarks.$(NAME) $(ARGS)
else
	@grep -lE '^def main\(' tests/benchmarks/*.py | sed -E 's|.*/(.*)\.py|make bench NAME=\1|'
endif

faults: $(DEV) ## Let processes, database and storage fail while work goes on: SEED=1, or ARGS="--seeds 10"
	@exec $(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(ARGS)

requirements: $(DEV) ## Compile the pins again
	@$(COMPILE) --output-file base.txt base.in
	@$(COMPILE) --output-file dev.txt dev.in

clean: ## Remove what the tools have cached; data in var/ stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
