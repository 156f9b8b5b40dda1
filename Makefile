# `make train` on a fresh machine does everything; each line works by hand too.
PYTHON ?= python3
BIN := .venv/bin
# A process a core, at most four, each with one thread: much of a test is not matrix products.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
  --no-loadscope-reorder

.PHONY: help train test test-fast test-slurm test-ray browser lint format clean
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-14s%s\n", $$1, $$2 }'

train: .venv/installed  ## fine-tune the shipped tiny BLIP on synthetic people (minutes)
	$(BIN)/blippose train

test: lint  ## lint, then every test
	$(PYTEST)

test-fast: .venv/installed  ## the tests that take seconds
	$(PYTEST) -m "not slow"

browser: .venv/installed  ## a headless Chromium for the tests of report.html, which skip without one
	@command -v chromium || command -v google-chrome || { apt-get update -q && \
	  apt-get install -q -y --no-install-recommends chromium; } || \
	  $(BIN)/playwright install chromium-headless-shell

test-slurm: .venv/installed  ## a sweep on a real Slurm of one node, where root can install it
	@tests/slurm/install.sh || { [ $$? = 77 ] && exit 0 || exit 1; }; \
	  command -v slurmctld >/dev/null || exit 0; \
	  BLIPPOSE_SLURM=1 $(BIN)/python -m pytest tests/test_slurm.py

test-ray: .venv/installed  ## the same on a Ray of this machine (79 MB to download)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest tests/test_launchers.py -k ray

lint: .venv/installed  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed  ## mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; data/ and runs/ stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "blippose needs Python 3.11 or newer: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
	  { echo "no venv module: apt install python3-venv, then make again" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
