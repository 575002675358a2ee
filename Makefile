# Two commands matter: `make demo` and `make test`. Both first make the environment in .venv, where it is missing or old.
# They need git, python3 (3.11 or newer, with venv) and a package registry; neither a compiler nor a GPU.

PYTHON = python3
VENV = .venv

BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PYTEST = $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 25
PIP = $(BIN)/python -m pip -qq --disable-pip-version-check --no-input

# Also where somebody has forbidden it: else each of some hundred processes would compile all modules, and each worker
# rewrite all tests, every time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.PHONY: help demo test test-system test-long check docs bench format clean $(VENV)
.DELETE_ON_ERROR:

help:  ## Show these lines
	@awk -F ':.*  ## ' '/^[a-z.-]+:.*  ## / { printf "%-10s%s\n", $$1, $$2 }' Makefile

demo: $(STAMP)  ## Watch a compressed day on an emulated machine, in about a minute
	@$(BIN)/greenrun demo

test: $(STAMP)  ## Pass the tests that this machine can run, the others are skipped with the reason; some minutes
	@$(PYTEST)

test-system: $(STAMP)  ## Pass all tests that run the whole program, of which `make test` draws some
	@$(PYTEST) tests/system tests/booted tests/cli/demonstration

test-long: $(STAMP)  ## Try everything that the tests otherwise try a part of: all crash points, the whole month; an hour or more
	@GREENRUN_TEST_LONG=1 $(PYTEST)

check: $(STAMP)  ## Check format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(STAMP)  ## Build the documentation as a site in build/docs, and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict && echo "open build/docs/index.html"

bench: $(STAMP)  ## Measure the planner on made-up queues, in some minutes
	@$(BIN)/python benchmarks/planning.py

format: $(STAMP)  ## Format the code and fix what lint can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:  ## Delete the environment and everything else that can be made again
	rm -rf $(VENV) build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find greenrun tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV): $(STAMP)

# An environment that cannot run any more (its Python went away) is made again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "greenrun needs Python 3.11 or newer, which '$(PYTHON)' is not: name another, as in make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' comes without venv: install it (Debian and Ubuntu call it python3-venv), then try again" >&2; \
	    exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { echo "making the environment in $(VENV)" >&2; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing what constraints.txt pins (a minute or so)" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[dev]' || { \
	    echo "the environment is not complete: fix what is reported above (a network? a mirror in pip.conf?), then try again" >&2; \
	    exit 1; }
	@touch $@ && echo "the environment in $(VENV) is ready" >&2
