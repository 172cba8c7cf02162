# `make tour` and `make test` are all that a fresh machine needs: each makes .venv when there is none.
# Works from any folder (make -C, make -f). PYTHON=python3.12 make test takes another Python (3.11 or newer).

ROOT := $(patsubst %/,%,$(dir $(realpath $(lastword $(MAKEFILE_LIST)))))
VENV ?= $(ROOT)/.venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two threads on two busy cores are slower than one; pytest runs two workers, so each takes one thread.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: install tour test lint unit test-services results clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(ROOT)/Makefile | expand -t 24

$(STAMP): $(ROOT)/pyproject.toml $(ROOT)/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hedgerow: needs Python 3.11 or newer, $(PYTHON) is %d.%d; try PYTHON=python3.11 make …" % sys.version_info[:2])'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing hedgerow with all that its tests need into $(VENV) (2.7 GB, two minutes; only when pyproject.toml or constraints.txt changed)"
	@cd $(ROOT) && $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[build,llama,eval,records,bounds,dev]" -c constraints.txt
	@touch $@

install: $(STAMP)  ## make .venv and install everything into it

tour: $(STAMP)  ## build, weigh and place on shipped data, ending with one HTML page
	@cd $(ROOT) && $(BIN)/python -m hedgerow.report.tour

test: lint unit  ## lint, types and all tests that need no service

lint: $(STAMP)  ## ruff and mypy
	@cd $(ROOT) && $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

unit: $(STAMP)  ## pytest without the service tests, on two workers
	@cd $(ROOT) && $(ONE_THREAD) $(BIN)/python -m pytest -q -n 2 -m "not service"

test-services: $(STAMP)  ## browser, several processes, clean installations: one at a time, a skipped one fails
	@cd $(ROOT) && $(ONE_THREAD) HEDGEROW_NO_SKIP=1 $(BIN)/python -m pytest -q -n 0 -m service

results: $(STAMP)  ## draw every table in README and docs again from results/
	@cd $(ROOT) && $(BIN)/python -m hedgerow.report.tables && $(BIN)/python -m hedgerow.cli.readme

clean:  ## remove what make made, but not your runs and Packs
	rm -rf $(VENV) $(ROOT)/.pytest_cache $(ROOT)/.mypy_cache $(ROOT)/.ruff_cache $(ROOT)/.hypothesis
