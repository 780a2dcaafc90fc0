# Two commands do all the set-up on a fresh machine: `make scan` (the main job) and `make test` (the tests).
# Both make a virtual environment of their own in .venv and install what they need into it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: scan test test-slow lint docs reproduce-short bench-short fuzz-short mutate clean

scan: $(VENV)/.core
	$(BIN)/cutaway scan

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The short form of every reproduction and every benchmark; the long forms are `cutaway reproduce NAME` and
# `python benchmarks/bench_NAME.py`.
reproduce-short: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python reproductions/run_all.py --short --jobs 2 --out docs/_build/short_rows.json

bench-short: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run_all.py --short

# The documentation site, docs/_build/html/index.html; after `make test-slow` the notebooks are not run again.
docs: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python docs/site/build.py

fuzz-short: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz_import.py --minutes 1 --models 5000
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fuzz_bounds.py --minutes 1

# Would the tests notice a fault? Hours for the full sample; a run that was stopped goes on (runs/mutants.jsonl).
mutate: $(VENV)/.dev
	$(BIN)/python -m tools.mutation --strict $(or $(STRICT),200) --elsewhere $(or $(ELSEWHERE),200)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
