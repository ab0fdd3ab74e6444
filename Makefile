# One way to run everything. All tools run from .venv, which follows the lock files.
PYTHON ?= python3
# Where torch comes from; for a CPU-only build on Linux: make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

export NO_MKDOCS_2_WARNING := 1

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
TORCH := $(shell grep '^torch==' requirements.lock)
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
PEERS := $(VENV)-peers/.installed

.DEFAULT_GOAL := help
.PHONY: help quickstart install test check format docs bench bench-engine lock clean

help:  ## show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(PY):
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): requirements.lock pyproject.toml | $(PY)
	@echo "installing the packages of requirements.lock into $(VENV)"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "installing the packages of requirements-dev.lock into $(VENV)"
	$(PIP) -r requirements-dev.lock
	@touch $@

install: $(RUNTIME)  ## install inkstone and what it needs into .venv

quickstart: $(RUNTIME)  ## text in, a trained model out: under five minutes after installation
	$(VENV)/bin/inkstone quickstart

test: $(DEV)  ## every test but those that need the internet
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4

check: $(DEV)  ## format, lint, types, import floors, documentation
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) docs/generate_reference.py --check
	$(PY) -m mkdocs build --strict --quiet

format: $(DEV)  ## format and fix what ruff can fix
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: $(DEV)  ## write the generated reference pages and build the site into site/
	$(PY) docs/generate_reference.py
	$(PY) -m mkdocs build --strict

bench: $(DEV)  ## the tables of the README, measured on this machine
	$(PY) benchmarks/train.py
	$(PY) benchmarks/time_to_loss.py
	$(PY) benchmarks/prepare_memory.py
	$(PY) benchmarks/load.py

$(PEERS): requirements.lock benchmarks/engine-peers.txt
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(VENV)-peers/bin/python -m pip install --disable-pip-version-check -r requirements.lock -r benchmarks/engine-peers.txt
	$(VENV)-peers/bin/python -m pip install --disable-pip-version-check --no-deps --editable .
	@touch $@

bench-engine: $(PEERS)  ## generation beside its peers, which are built and installed into .venv-peers first
	$(VENV)-peers/bin/python benchmarks/engine.py --folder engine-models

lock: $(DEV)  ## write the lock files from what is installed in .venv
	$(PY) tools/lock.py

clean:  ## remove the environment, built pages and caches (runs are kept)
	rm -rf $(VENV) site dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
