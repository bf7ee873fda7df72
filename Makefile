# Needs Python 3.10 or newer and make; `make help` lists what there is.

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := $(wildcard packages/*)

.PHONY: help
help:  ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

.PHONY: demo
demo: .venv/installed  ## run Gunicorn with metrics on this machine; Ctrl-C ends it
	@exec $(BIN)/python examples/demo/run.py

.PHONY: test
test: $(BIN)/nox  ## everything that CI checks
	@scripts/system-packages.sh
	@exec $(BIN)/nox

.PHONY: bench
bench: $(BIN)/nox  ## run the benchmarks
	@exec $(BIN)/nox --sessions bench

.PHONY: venv
venv: .venv/installed  ## .venv with everything installed editable, and the tools
	@$(BIN)/pip install --quiet --upgrade 'pip>=25.1'  # the first that knows --group
	@$(BIN)/pip install --quiet --group dev

.PHONY: clean
clean:  ## remove what these commands made
	rm -rf .venv .nox dist site .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo "make: $(PYTHON) cannot make a venv; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(BIN)/nox: | $(BIN)/python
	@$(BIN)/pip install --quiet nox

.venv/installed: pyproject.toml $(PACKAGES:=/pyproject.toml) | $(BIN)/python
	@echo "Installing into .venv. This takes about a minute."
	@$(BIN)/pip install --quiet $(PACKAGES:%=--editable %) --editable '.[all]'
	@touch $@
