# `make` and `make test` are all that a fresh machine needs, besides Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: all test check bench faults clean

# The main job on this repository, then what it took. The report comes after a failure, too.
all: $(INSTALLED)
	@$(BIN)/doit -n auto; status=$$?; echo; $(BIN)/doit report; exit $$status

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal tests

check: $(INSTALLED)
	$(BIN)/doit -n auto lint format types layers

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

# The heavy version of tests/faults: a table of promise, tries, failures. ROUNDS says how heavy.
ROUNDS ?= 20
faults: $(INSTALLED)
	$(BIN)/python tests/faults/table.py $(ROUNDS)

clean:
	rm -rf $(VENV) .buildkit build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Made again when the dependencies in pyproject.toml change.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"Python 3.11 or newer is needed; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,build,examples,otel]'
	@touch $@
