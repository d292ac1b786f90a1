# Needs Python >= 3.11, git and make; everything else goes into $(VENV).
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

UV := uv==0.13.9
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# Named after the Python, so that another PYTHON gets a new environment.
STAMP := $(VENV)/.installed-$(VERSION)
CODE := $(wildcard src tests spec demo proofs bench docs examples hatch_build.py)
# Exhaustive and random checks: coverage would slow them down tenfold and adds nothing to them.
UNTRACED = $(sort $(shell grep -rl --include='test_*.py' mark.untraced tests))

# Compile each module once, because the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint prose spec verify mutants matrix bench soak docs clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  variables   PYTHON=python3.12  VENV=.venv  PYTEST_ARGS="-k minimum_size -x"'

venv: $(STAMP) ## Create the virtual environment with all tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "needs Python 3.11 or newer")'
	@echo "Creating $(VENV) with Python $(VERSION)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the project and its tools"
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check '$(UV)' \
	  && UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]'; \
	then echo "Installed by uv"; \
	else echo "uv cannot be used here, installing by pip (slower)"; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'; \
	fi
	@touch $@

demo: $(STAMP) ## Run the demonstration
	$(BIN)/python -m demo

test: lint ## Check style and types, run all tests but the slow ones, with coverage
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov -m "not untraced and not slow" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -n 2 --dist load -m "untraced and not slow" $(UNTRACED) $(PYTEST_ARGS)

lint: $(STAMP) ## Check style and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)

prose: $(STAMP) ## List sentences and names that break the house style; fails nothing
	@$(BIN)/python -m proofs.prose

spec: $(STAMP) ## Check every model of the specification
	$(BIN)/python -m spec

verify: $(STAMP) ## Run every checker and the slow tests, print the assurance table
	$(BIN)/python -m proofs.assurance
	$(BIN)/python -m tests.reentrancy
	$(BIN)/python -m pytest -n 2 -m slow

mutants: $(STAMP) ## Break everything on purpose, and see that it is noticed
	$(BIN)/python -m proofs.mutants

matrix: $(STAMP) ## Run the tests on every CPython from 3.11 up that is there
	$(BIN)/python -m tests.matrix

bench: $(STAMP) ## Measure the pool beside floors and other pools (BENCH_ARGS="--quick --check")
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[bench]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m bench $(BENCH_ARGS)

soak: $(STAMP) ## Lease ten million times with faults, see that memory is flat (SOAK_ARGS="--seconds 60")
	$(BIN)/python -m bench.soak $(SOAK_ARGS)

docs: $(STAMP) ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open site/index.html"

clean: ## Remove the environment, caches and build outputs
	rm -rf $(VENV) .venv .venv-matrix-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .mutants .soak.json build dist site
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
