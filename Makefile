# Two commands on a fresh machine: `make quickstart` trains, evaluates and reports; `make test` checks everything.
# Both set up a virtual environment in .venv first, and reuse it while pyproject.toml is unchanged.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# Tests run in as many processes as the machine has cores, at most four: make PARALLEL= runs one.
PARALLEL ?= --numprocesses logical --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

export LITELLM_LOCAL_MODEL_COST_MAP ?= True
export LITELLM_MODE ?= PRODUCTION
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help quickstart test test-fast lint schema docs servers clean

help:
	@echo "make quickstart   set up, then run recipes/quickstart.yaml: a better embedding model in minutes"
	@echo "make test         set up, then ruff, mypy, the import contract, and all tests"
	@echo "make test-fast    set up, then the tests that need neither a server nor much time"
	@echo "make lint         only ruff, mypy and the import contract"
	@echo "make servers      start a real Elasticsearch and a real Qdrant and print their urls, until Ctrl-C"
	@echo "make schema       write schemas/recipe.schema.json"
	@echo "make docs         write docs/recipes/ and docs/errors.md from the schema and the error codes"
	@echo "make clean        remove the environment and what tools left behind (runs and caches stay)"

quickstart: $(VENV)/.ready
	$(BIN)/recipekit run quickstart

test: lint
	$(BIN)/pytest -q $(PARALLEL)

test-fast: $(VENV)/.ready
	$(BIN)/pytest -q $(PARALLEL) -m "not slow and not server"

lint: $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

schema: $(VENV)/.ready
	$(BIN)/recipekit schema --distribution recipekit --output schemas/recipe.schema.json

docs: $(VENV)/.ready
	$(BIN)/python docs/generate.py

servers: $(VENV)/.ready
	@$(BIN)/python tests/servers

$(VENV)/.ready: pyproject.toml
	@test -n "$(PYTHON)" || { echo "recipekit needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Python compiles the modules that are imported; pip would compile all 24,000 for a minute.
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[quickstart,dev]'
	$(BIN)/python -m compileall -q src
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
